import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { chmod, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { chooseContainment, supervisorFile } from '../../src/process/choose-containment.ts';
import { type ProcessExit, type ProcessOptions, runProcess } from '../../src/process/run-process.ts';
import { createSupervisorContainment } from '../../src/process/supervisor-containment.ts';
import { asRecord } from '../helpers/service-process.ts';
import { waitFor } from '../helpers/wait.ts';

const env = { PATH: '/usr/local/bin:/usr/bin:/bin' };
const never = new AbortController().signal;

let dir: string;
const file = (name: string): string => join(dir, name);
const json = async (name: string): Promise<Record<string, unknown>> =>
  asRecord(JSON.parse(await readFile(file(name), 'utf8')));

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'supervisor-'));
  await writeFile(file('stdin'), '');
});

afterEach(() => rm(dir, { recursive: true }));

/** Runs a script under a supervisor as the service does. */
function sh(script: string, changed: Partial<ProcessOptions> = {}, signal = never): Promise<ProcessExit> {
  return runProcess(
    {
      command: { file: '/bin/sh', args: ['-c', script], env, cwd: dir },
      ...{ stdinFile: file('stdin'), stdoutFile: file('stdout'), stderrFile: file('stderr') },
      ...{ recordFile: file('record'), exitFile: file('exit') },
      ...{ timeoutMs: 60_000, graceMs: 5_000, maxOutputBytes: 1024 ** 3 },
      containment: createSupervisorContainment({ file: supervisorFile }),
      ...changed,
    },
    signal,
  );
}

/** Starts a supervisor without the service: the test holds the other end of its control socket. */
function supervise(script: string, ...settings: readonly string[]): ChildProcess {
  const args = [
    ...settings,
    `cwd=${dir}`,
    `exit=${file('exit')}`,
    `record=${file('record')}`,
    '--',
    '/bin/sh',
    '-c',
    script,
  ];
  return spawn(supervisorFile, args, { env, stdio: ['ignore', 'ignore', 'ignore', 'pipe'] });
}

const text = (name: string): Promise<string> => readFile(file(name), 'utf8').catch(() => '');
const written = (name: string): Promise<string> =>
  waitFor(
    () => text(name),
    (found) => found.endsWith('\n'),
  );

async function isGone(pid: number): Promise<boolean> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '');
  return stat === '' || /\) [ZX] /.test(stat);
}

async function expectGone(...names: readonly string[]): Promise<void> {
  for (const name of names) {
    const pid = Number(await text(name));
    expect(pid).toBeGreaterThan(1);
    await waitFor(() => isGone(pid), Boolean, { what: `the process in ${name} to be gone` });
  }
}

/** A child that no group and no session reaches, and whose parent is gone. */
const escapee = `(setsid sh -c 'echo $$ >escapee.new; mv escapee.new escapee; exec sleep 300' >/dev/null 2>&1 &)`;
/** Nor does what it carries: it has no environment. */
const hidden = escapee.replace('setsid', 'env -i setsid');
const main = 'echo $$ >main; while :; do sleep 1; done';
const stay = `${escapee}; ${main}`;

describe('the end of a supervisor', () => {
  test.each(['guard', 'keeper'])('by SIGKILL of its %s ends all it ran, and the run is told as lost', async (role) => {
    const run = sh(stay);
    await written('escapee');
    await written('main');
    process.kill(Number((await json('record'))[role]), 'SIGKILL');
    expect(await run).toMatchObject({ endedBy: 'supervision_lost', containment: { survivors: 0 } });
    await expectGone('escapee', 'main');
  });

  test('guard and keeper at once, leaves what is found by what no process can put down', async () => {
    const mark = `JOB_MARK=${dir}`;
    const run = runProcess(
      {
        command: { file: '/bin/sh', args: ['-c', `${hidden}; ${main}`], env: { ...env, JOB_MARK: dir }, cwd: dir },
        ...{
          stdinFile: file('stdin'),
          stdoutFile: file('stdout'),
          stderrFile: file('stderr'),
          recordFile: file('record'),
        },
        ...{ timeoutMs: 60_000, graceMs: 5_000, maxOutputBytes: 1024 ** 3, mark },
        containment: createSupervisorContainment({ file: supervisorFile }),
      },
      never,
    );
    await written('escapee');
    await written('main');
    const { guard, keeper } = await json('record');
    // Stopped first, and the keeper killed first: the kernel makes a stopped one go on whose guard ends.
    for (const signal of ['SIGSTOP', 'SIGKILL'] as const) {
      for (const pid of [keeper, guard]) process.kill(Number(pid), signal);
    }
    expect(await run).toMatchObject({ endedBy: 'supervision_lost', containment: { survivors: null } });
    await expectGone('escapee', 'main');
  });

  test('that was stopped is brought about by the service', async () => {
    const cancel = new AbortController();
    const containment = createSupervisorContainment({ file: supervisorFile, slackMs: 300 });
    const run = sh(stay, { containment, graceMs: 100 }, cancel.signal);
    await written('escapee');
    const { guard, keeper } = await json('record');
    for (const pid of [guard, keeper]) process.kill(Number(pid), 'SIGSTOP');
    cancel.abort('cancelled');
    expect(await run).toMatchObject({ endedBy: 'cancelled', containment: { survivors: 0 } });
    await expectGone('escapee');
  });
});

describe('without its service', () => {
  test('a supervisor kills what it runs as soon as the line is cut', async () => {
    const child = supervise(`trap '' INT TERM; ${stay}`, 'control=3', 'kill-ms=60000', 'term-ms=30000');
    await written('escapee');
    child.stdio[3]?.destroy();
    await once(child, 'exit');
    expect(await json('exit')).toMatchObject({ ended_by: 'service_gone', survivors: 0 });
    await expectGone('escapee', 'main');
  });

  test('that is frozen, it kills what it runs when the limit has passed', async () => {
    const child = supervise(stay, 'control=3', 'dead-man-ms=500');
    await written('escapee');
    await once(child, 'exit');
    expect(await json('exit')).toMatchObject({ ended_by: 'dead_man', survivors: 0 });
    await expectGone('escapee', 'main');
  });

  test('that it shall do without, it goes on, and still keeps the time', async () => {
    const child = supervise(stay, 'control=3', 'adopt=1', 'dead-man-ms=100', 'timeout-ms=1500', 'kill-ms=200');
    await written('escapee');
    child.stdio[3]?.destroy();
    await once(child, 'exit');
    expect(await json('exit')).toMatchObject({ ended_by: 'timeout', survivors: 0 });
    await expectGone('escapee', 'main');
  });
});

describe('the record', () => {
  test('is held while the supervisor lives, by one alone, and free when it is gone', async () => {
    const isHeld = (): Promise<boolean> =>
      promisify(execFile)(supervisorFile, ['is-held', file('record')]).then(
        () => true,
        () => false,
      );
    const first = supervise(stay);
    await written('record');
    expect(await isHeld()).toBe(true);
    const second = supervise('echo second >second');
    expect((await once(second, 'exit'))[0]).toBe(0);
    expect(await text('second')).toBe('');
    first.kill('SIGTERM');
    await once(first, 'exit');
    expect(await isHeld()).toBe(false);
    expect(await json('exit')).toMatchObject({ ended_by: 'signal', survivors: 0 });
  });

  test('is there before the program is, so that nothing runs that has none', async () => {
    await once(supervise('cat record >seen; echo $$ >main'), 'exit');
    expect(asRecord(JSON.parse(await text('seen')))['program']).toBe(Number(await text('main')));
  });

  test('tells who runs in a way that a reused process id does not match', async () => {
    const child = supervise('sleep 300');
    const record = asRecord(JSON.parse(await written('record')));
    expect(record['boot_id']).toBe((await readFile('/proc/sys/kernel/random/boot_id', 'utf8')).trim());
    expect(record['guard']).toBe(child.pid);
    const stat = await readFile(`/proc/${Number(record['program'])}/stat`, 'utf8');
    expect(record['program_start']).toBe(Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19]));
    child.kill('SIGTERM');
    await once(child, 'exit');
  });
});

describe('a supervised program', () => {
  test('has its limits', async () => {
    await sh('ulimit -c; ulimit -n; ulimit -f; cut -d" " -f19 /proc/$$/stat');
    const [core, files, blocks, nice] = (await text('stdout')).split('\n');
    expect(core).toBe('0');
    expect(Number(files)).toBeLessThanOrEqual(65_536);
    expect(Number(blocks)).toBeLessThanOrEqual((64 * 1024 ** 3) / 512);
    expect(nice).toBe('10');
  });

  test.skipIf(!existsSync('/proc/self/autogroup'))(
    'has a small share where each session has one of its own',
    async () => {
      // One wish in a tenth of a second is heard from ordinary users: the supervisor comes back to it.
      const isLow = 'grep -q "nice 10$" /proc/self/autogroup';
      await sh(`i=0; until ${isLow} || [ $i -eq 200 ]; do i=$((i+1)); sleep 0.05; done; cat /proc/self/autogroup`);
      expect(await text('stdout')).toMatch(/^\/autogroup-\d+ nice 10$/m);
    },
  );

  test.each([
    ['fsize=4096', 'head -c 10000 /dev/zero >big; wc -c <big', '4096'],
    ['nofile=20', 'ulimit -n', '20'],
    ['data=64000000', 'ulimit -d', '62500'],
    ['nice=7', 'cut -d" " -f19 /proc/$$/stat', '7'],
    ['nice=0', 'ulimit -H -c', '0'],
  ])('is held to %s, as it was told', async (setting, script, told) => {
    await once(supervise(`(${script}) >told 2>/dev/null`, setting), 'exit');
    expect((await text('told')).trim()).toBe(told);
    expect(await json('exit')).toMatchObject({ spawn_errno: 0, survivors: 0 });
  });

  test('is accounted for with all it ran', async () => {
    const { containment } = await sh(
      'head -c 50000000 /dev/zero | tail -c 40000000 >/dev/null; i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done',
    );
    expect(containment?.peakRssBytes).toBeGreaterThan(40_000_000);
    expect(containment?.cpuMs).toBeGreaterThan(0);
    expect(containment).toMatchObject({ level: 'supervisor', killed: 0, survivors: 0 });
  });

  test('leaves word of its end also on a disk that it filled up', async () => {
    const inside = `${supervisorFile} exit=/mnt/exit record=/mnt/record -- /bin/sh -c 'cat /dev/zero >/mnt/fill; exit 5'`;
    const sandbox = ['--ro-bind', '/', '/', '--dev', '/dev', '--proc', '/proc', '--size', '65536', '--tmpfs', '/mnt'];
    const { stdout } = await promisify(execFile)('bwrap', [...sandbox, '/bin/sh', '-c', `${inside}; cat /mnt/exit`]);
    expect(asRecord(JSON.parse(stdout))).toMatchObject({ exit_code: 5, survivors: 0 });
  });

  test('ends as itself also when no line of the end can be written', async () => {
    expect(await sh('exit 3', { exitFile: '/proc/nowhere/exit' })).toMatchObject({ exitCode: 3, endedBy: null });
  });
});

describe('the choice of containment', () => {
  test('is the supervisor where it works', async () => {
    expect(await chooseContainment()).toMatchObject({ containment: { level: 'supervisor' }, weakness: null });
  });

  test('is the group, with a reason, where there is none, or one of another version', async () => {
    const missing = await chooseContainment(file('absent'));
    expect(missing.containment.level).toBe('group');
    expect(missing.weakness).toContain('native/build.sh');
    await writeFile(file('other'), '#!/bin/sh\necho supervise 0\n');
    await chmod(file('other'), 0o755);
    expect((await chooseContainment(file('other'))).weakness).toContain('"supervise 0"');
  });
});
