import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { supervisorFile } from '../../src/process/choose-containment.ts';
import { createGroupContainment } from '../../src/process/group-containment.ts';
import { type ProcessExit, type ProcessOptions, runProcess } from '../../src/process/run-process.ts';
import { createSupervisorContainment } from '../../src/process/supervisor-containment.ts';
import { waitFor } from '../helpers/wait.ts';

const MiB = 1024 * 1024;
const never = new AbortController().signal;
const env = { PATH: '/usr/local/bin:/usr/bin:/bin' };

let dir: string;
let options: Omit<ProcessOptions, 'command'>;

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'run-process-'));
  await writeFile(join(dir, 'stdin'), '');
  options = {
    stdinFile: join(dir, 'stdin'),
    stdoutFile: join(dir, 'stdout'),
    stderrFile: join(dir, 'stderr'),
    timeoutMs: 60_000,
    graceMs: 5_000,
    maxOutputBytes: 1024 * MiB,
    containment: createGroupContainment(),
  };
});

afterEach(async () => {
  await rm(dir, { recursive: true });
});

function sh(script: string, changed: Partial<ProcessOptions> = {}, signal = never): Promise<ProcessExit> {
  const command = { file: '/bin/sh', args: ['-c', script], env, cwd: dir };
  return runProcess({ command, ...options, ...changed }, signal);
}

const stdout = (): Promise<string> => readFile(options.stdoutFile, 'utf8');

/** The text of the standard output once it holds this. */
async function printed(text: string): Promise<string> {
  const read = async (): Promise<string> => stdout().catch(() => '');
  return await waitFor(read, (found) => found.includes(text));
}

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}

describe.each([createGroupContainment(), createSupervisorContainment({ file: supervisorFile })])(
  'at level $level',
  (containment) => {
    beforeEach(() => {
      options = { ...options, containment };
    });

    describe('a program that ends by itself', () => {
      test('gives its exit code and how long it took', async () => {
        const exit = await sh('exit 7');
        expect(exit).toMatchObject({ exitCode: 7, signal: null, endedBy: null, spawnError: null });
        expect(exit.startedAt).toBeGreaterThan(Date.now() - 60_000);
        expect(exit.durationMs).toBeGreaterThan(0);
      });

      test('gives the signal that killed it', async () => {
        expect(await sh('kill -SEGV $$')).toMatchObject({ exitCode: null, signal: 'SIGSEGV', endedBy: null });
      });

      test('sees the given environment and directory, and nothing else', async () => {
        process.env['RUN_PROCESS_SECRET'] = 'leaked';
        const command = { file: '/usr/bin/env', args: [], env: { ONLY: 'this' }, cwd: dir };
        await runProcess({ command, ...options }, never);
        delete process.env['RUN_PROCESS_SECRET'];
        expect(await stdout()).toBe('ONLY=this\n');
      });

      test.each([
        ['a dash first', '-x --version\n'],
        ['an option alone', '--version'],
        ['no line break at its end', 'é 漢 🎉'],
        ['only line breaks', '\n\n\r\n'],
        ['a megabyte', `${'long '.repeat(MiB / 5)}end`],
        ['nothing', ''],
      ])('reads exactly the bytes of its input: %s', async (_, text) => {
        await writeFile(options.stdinFile, text);
        await sh('cat');
        expect(await stdout()).toBe(text);
      });

      test('leaves files for the owner alone, and is appended to what they hold', async () => {
        await sh('echo one; echo err >&2');
        await sh('echo two');
        expect(await stdout()).toBe('one\ntwo\n');
        expect((await stat(options.stdoutFile)).mode & 0o777).toBe(0o600);
        expect((await stat(options.stderrFile)).mode & 0o777).toBe(0o600);
      });

      test('may take a whole day', async () => {
        expect(await sh('sleep 0.2', { timeoutMs: 86_400_000 })).toMatchObject({ exitCode: 0, endedBy: null });
      });

      test('does not leave its background processes behind', async () => {
        await sh('sleep 300 & echo $!');
        const pid = Number(await stdout());
        expect(pid).toBeGreaterThan(1);
        await waitFor(
          () => isRunning(pid),
          (running) => !running,
        );
      });
    });

    describe('a program that cannot be run', () => {
      test.each([
        ['its file is missing', { file: '/nonexistent/program' }, 'ENOENT'],
        ['its file is no program', { file: '/etc/passwd' }, 'EACCES'],
        ['its directory is missing', { cwd: '/nonexistent' }, 'ENOENT'],
      ])('is an outcome, not an exception: %s', async (_, changed, code) => {
        const command = { file: '/bin/true', args: [], env, cwd: dir, ...changed };
        const exit = await runProcess({ command, ...options }, never);
        expect(exit).toMatchObject({ exitCode: null, signal: null, endedBy: null, spawnError: { code } });
      });

      test('says so when a file of its own is missing', async () => {
        expect((await sh('true', { stdinFile: join(dir, 'absent') })).spawnError).toMatchObject({ code: 'ENOENT' });
      });

      test('is not started once the signal has aborted', async () => {
        const exit = await sh('echo started', {}, AbortSignal.abort('cancelled'));
        expect(exit).toMatchObject({ exitCode: null, endedBy: 'cancelled', spawnError: null });
        await expect(stdout()).rejects.toThrow('ENOENT');
      });
    });

    describe('a program that is ended', () => {
      test('gets SIGINT first, and what it says then is kept', async () => {
        const cancel = new AbortController();
        const run = sh(`trap 'echo cost; exit 3' INT; echo ready; while :; do sleep 0.1; done`, {}, cancel.signal);
        await printed('ready');
        cancel.abort('client_gone');
        expect(await run).toMatchObject({ exitCode: 3, endedBy: 'client_gone' });
        expect(await stdout()).toBe('ready\ncost\n');
      });

      test('gets SIGTERM and then SIGKILL within the grace if it does not go', async () => {
        const cancel = new AbortController();
        const script = `trap 'echo INT' INT; trap 'echo TERM' TERM; echo ready; while :; do sleep 0.05; done`;
        const run = sh(script, { graceMs: 1_000 }, cancel.signal);
        await printed('ready');
        const start = performance.now();
        cancel.abort('cancelled');
        expect(await run).toMatchObject({ exitCode: null, signal: 'SIGKILL', endedBy: 'cancelled' });
        expect(performance.now() - start).toBeGreaterThan(950);
        expect(await stdout()).toBe('ready\nINT\nTERM\n');
      });

      test('is truly gone after its timeout, with all of its group', async () => {
        const pids: number[] = [];
        const script = `trap '' INT TERM; sleep 300 & echo $!; wait; sleep 300`;
        const exit = await sh(script, { timeoutMs: 500, graceMs: 300, onSpawn: (pid) => pids.push(pid) });
        pids.push(Number(await stdout()));
        expect(exit).toMatchObject({ signal: 'SIGKILL', endedBy: 'timeout' });
        expect(pids).toHaveLength(2);
        for (const pid of pids) {
          await waitFor(
            () => isRunning(pid),
            (running) => !running,
          );
        }
      });

      test('keeps the first reason', async () => {
        const cancel = new AbortController();
        const run = sh(
          `trap '' INT; echo ready; sleep 300; sleep 300`,
          { timeoutMs: 500, graceMs: 1_500 },
          cancel.signal,
        );
        await printed('ready');
        setTimeout(() => cancel.abort('cancelled'), 700);
        expect((await run).endedBy).toBe('timeout');
      });

      test('is killed at once when there is no time for grace', async () => {
        const cancel = new AbortController();
        const hurry = new AbortController();
        const script = `trap '' INT TERM; echo ready; while :; do sleep 0.1; done`;
        const run = sh(script, { graceMs: 3_600_000, hurry: hurry.signal }, cancel.signal);
        await printed('ready');
        cancel.abort('shutdown');
        hurry.abort();
        expect(await run).toMatchObject({ signal: 'SIGKILL', endedBy: 'shutdown' });
      });

      test('is killed at once when the hurry came first', async () => {
        const cancel = new AbortController();
        const changed = { graceMs: 3_600_000, hurry: AbortSignal.abort() };
        const run = sh(`trap '' INT TERM; echo ready; while :; do sleep 0.1; done`, changed, cancel.signal);
        await printed('ready');
        cancel.abort('shutdown');
        expect(await run).toMatchObject({ signal: 'SIGKILL', endedBy: 'shutdown' });
      });
    });

    describe('a program that prints much', () => {
      test('is ended when both streams together pass the limit', async () => {
        const exit = await sh('yes >&2', { maxOutputBytes: MiB, graceMs: 500 });
        expect(exit.endedBy).toBe('output_limit');
        expect(exit.durationMs).toBeLessThan(30_000);
      });

      test('is over the limit even if it was faster than our eyes', async () => {
        const exit = await sh('head -c 2000 /dev/zero; head -c 2000 /dev/zero >&2', { maxOutputBytes: 3_999 });
        expect(exit).toMatchObject({ exitCode: 0, endedBy: 'output_limit' });
      });

      test('may print up to the limit', async () => {
        const exit = await sh('head -c 2000 /dev/zero; head -c 2000 /dev/zero >&2', { maxOutputBytes: 4_000 });
        expect(exit).toMatchObject({ exitCode: 0, endedBy: null });
      });

      test('may flood its standard error before it prints', async () => {
        expect((await sh('head -c 10000000 /dev/zero >&2; echo done')).exitCode).toBe(0);
        expect(await stdout()).toBe('done\n');
        expect((await stat(options.stderrFile)).size).toBe(10_000_000);
      });

      test('costs this process no memory: 200 MB, none of it with a line break', async () => {
        const before = process.memoryUsage().rss;
        expect((await sh(`head -c ${200 * MiB} /dev/zero`)).exitCode).toBe(0);
        expect((await stat(options.stdoutFile)).size).toBe(200 * MiB);
        expect(process.memoryUsage().rss - before).toBeLessThan(32 * MiB);
      });
    });

    describe('a program that is silent', () => {
      test('is ended after its time of silence', async () => {
        const exit = await sh('echo once; sleep 300', { idleMs: 600 });
        expect(exit.endedBy).toBe('idle');
        expect(await stdout()).toBe('once\n');
      });

      test('goes on as long as either of its outputs grows', async () => {
        const script = 'for i in 1 2 3 4 5 6 7 8; do sleep 0.2; echo $i; sleep 0.2; echo $i >&2; done';
        expect(await sh(script, { idleMs: 1_500 })).toMatchObject({ exitCode: 0, endedBy: null });
      });
    });
  },
);

describe('a process in a session of its own', () => {
  test('that holds the output keeps nobody waiting, and escapes from a group', async () => {
    const exit = await sh('setsid sleep 60 & echo $!');
    const escapee = Number(await stdout());
    try {
      expect(exit.exitCode).toBe(0);
      expect(exit.durationMs).toBeLessThan(30_000);
      expect(isAlive(escapee)).toBe(true);
    } finally {
      process.kill(escapee, 'SIGKILL');
    }
  });

  test('is killed and counted by a supervisor', async () => {
    const containment = createSupervisorContainment({ file: supervisorFile });
    const exit = await sh('setsid sleep 60 & echo $!', { containment });
    expect(await isRunning(Number(await stdout()))).toBe(false);
    expect(exit).toMatchObject({ exitCode: 0, containment: { level: 'supervisor', killed: 1, survivors: 0 } });
  });
});

/** False also for a zombie: where nobody collects orphans they stay listed, but they no longer run. */
async function isRunning(pid: number): Promise<boolean> {
  if (!isAlive(pid)) return false;
  const line = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '');
  return line !== '' && !/\) Z /.test(line);
}
