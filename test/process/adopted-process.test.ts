import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { adoptProcess, canAdopt } from '../../src/process/adopted-process.ts';
import { supervisorFile } from '../../src/process/choose-containment.ts';
import { asRecord, isAlive } from '../helpers/service-process.ts';
import { waitFor } from '../helpers/wait.ts';

let dir: string;
const file = (name: string): string => join(dir, name);
const files = () => ({ recordFile: file('record'), exitFile: file('exit'), mark: `ADOPTED=${dir}` });
const record = async () => asRecord(JSON.parse(await readFile(file('record'), 'utf8')));

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'adopted-'));
});
afterEach(() => rm(dir, { recursive: true }));

/** A supervisor whose service is gone. */
async function supervise(script: string, ...settings: readonly string[]): Promise<ChildProcess> {
  const args = [...settings, 'kill-ms=500', 'term-ms=200', `record=${file('record')}`, `exit=${file('exit')}`, '--'];
  const child = spawn(supervisorFile, [...args, '/bin/sh', '-c', script], { env: { ADOPTED: dir }, stdio: 'ignore' });
  await waitFor(
    () => readFile(file('record'), 'utf8').catch(() => ''),
    (text) => text.endsWith('\n'),
  );
  return child;
}

describe('what an earlier process left', () => {
  test('is adopted while its supervisor lives, and ended for a reason that is kept', async () => {
    await supervise(`trap '' INT TERM; while :; do /bin/sleep 1; done`);
    expect(await canAdopt(supervisorFile, files())).toBe(true);
    const program = adoptProcess(supervisorFile, files());
    program.end('cancelled');
    program.end('shutdown');
    expect(await program.ended).toMatchObject({
      endedBy: 'cancelled',
      signal: 'SIGKILL',
      containment: { survivors: 0 },
    });
  });

  test('is ended at once when there is no time for grace', async () => {
    await supervise(`trap '' INT TERM; while :; do /bin/sleep 1; done`, 'kill-ms=600000', 'term-ms=500000');
    const program = adoptProcess(supervisorFile, files());
    program.end('shutdown');
    program.hurry();
    expect(await program.ended).toMatchObject({ endedBy: 'shutdown', signal: 'SIGKILL' });
  });

  test('is adopted when it has ended, from the word it left', async () => {
    const child = await supervise('exit 7');
    if (child.exitCode === null) await once(child, 'exit');
    expect(await canAdopt(supervisorFile, files())).toBe(true);
    expect(await adoptProcess(supervisorFile, files()).ended).toMatchObject({ exitCode: 7, endedBy: null });
  });

  test('is lost, not ended well, when the word it left is only half there', async () => {
    const child = await supervise('exit 0');
    if (child.exitCode === null) await once(child, 'exit');
    const whole = await readFile(file('exit'), 'utf8');
    for (const length of [0, 1, Math.floor(whole.length / 2), whole.lastIndexOf('}')]) {
      await writeFile(file('exit'), whole.slice(0, length));
      expect(await canAdopt(supervisorFile, files())).toBe(false);
    }
  });

  test('is not adopted by a process id that has become somebody else', async () => {
    const stranger = spawn('/bin/sleep', ['300'], { env: {}, stdio: 'ignore' });
    const bootId = (await readFile('/proc/sys/kernel/random/boot_id', 'utf8')).trim();
    const { pid } = stranger;
    await writeFile(
      file('record'),
      JSON.stringify({ boot_id: bootId, guard: pid, guard_start: 1, keeper: pid, keeper_start: 1, program: pid }),
    );
    expect(await canAdopt(supervisorFile, files())).toBe(false);
    const program = adoptProcess(supervisorFile, files());
    program.end('cancelled');
    stranger.kill(0);
    expect(await isAlive(Number(pid))).toBe(true);
    stranger.kill('SIGKILL');
  });

  test.each(['SIGCONT', 'SIGSTOP'] as const)(
    'is not adopted, and killed, when its record is only half written and its supervisor has got %s',
    async (signal) => {
      const hidden = `(env -i setsid sh -c 'echo $$ >${file('new')}; mv ${file('new')} ${file('pid')}; exec sleep 300' &)`;
      const child = await supervise(`${hidden}; exec /bin/sleep 300`);
      const pid = Number(await waitFor(() => readFile(file('pid'), 'utf8').catch(() => ''), Boolean));
      const { program, guard, keeper } = await record();
      for (const supervisor of [guard, keeper]) process.kill(Number(supervisor), signal);
      await writeFile(file('record'), '{"boot_id":"');
      expect(await canAdopt(supervisorFile, files())).toBe(false);
      for (const gone of [Number(program), pid]) {
        await waitFor(
          () => isAlive(gone),
          (alive) => !alive,
        );
      }
      if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
    },
  );

  test('is not adopted when its supervisor is listed still, with the same start time, but dead', async () => {
    const supervisor = `ADOPTED=${dir} ${supervisorFile} record=${file('record')} exit=${file('exit')} -- /bin/sleep 300`;
    // A parent that collects nobody.
    const parent = spawn('/bin/sh', ['-c', `${supervisor} & exec /bin/sleep 300`], { env: {}, stdio: 'ignore' });
    await waitFor(async () => (await readFile(file('record'), 'utf8').catch(() => '')).endsWith('\n'), Boolean);
    const { guard, keeper } = await record();
    for (const signal of ['SIGSTOP', 'SIGKILL'] as const) {
      for (const pid of [keeper, guard]) process.kill(Number(pid), signal);
    }
    const stat = () => readFile(`/proc/${Number(guard)}/stat`, 'utf8');
    expect(await waitFor(stat, (text) => text.includes(') Z '))).toContain(') Z ');
    expect(await canAdopt(supervisorFile, files())).toBe(false);
    parent.kill('SIGKILL');
  });

  test('is lost when its supervisor goes without a word', async () => {
    const child = await supervise('/bin/sleep 300');
    const { keeper, program } = await record();
    const adopted = adoptProcess(supervisorFile, files());
    for (const signal of ['SIGSTOP', 'SIGKILL'] as const) {
      for (const pid of [keeper, child.pid]) process.kill(Number(pid), signal);
    }
    expect(await adopted.ended).toMatchObject({ endedBy: 'supervision_lost', containment: { survivors: null } });
    expect(await isAlive(Number(program))).toBe(false);
  });
});
