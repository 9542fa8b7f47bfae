import { randomUUID } from 'node:crypto';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { supervisorFile } from '../../src/process/choose-containment.ts';
import { createSupervisorContainment } from '../../src/process/supervisor-containment.ts';
import { startWaiting, type WaitingOptions, type WaitingRun } from '../../src/process/waiting-run.ts';
import { isAlive } from '../helpers/service-process.ts';
import { waitFor } from '../helpers/wait.ts';

const never = new AbortController().signal;
const { startWaiting: startIn } = createSupervisorContainment({ file: supervisorFile });

let dir: string;
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'waiting-'));
});
afterEach(() => rm(dir, { recursive: true }));

async function sh(script: string, changed: Partial<WaitingOptions> = {}): Promise<WaitingRun> {
  if (startIn === undefined) throw new Error('nothing can wait');
  return await startWaiting(startIn, {
    command: {
      file: '/bin/sh',
      args: ['-c', script],
      env: { PATH: '/usr/bin:/bin', MARK: randomUUID() },
      cwd: dir,
    },
    ...{ stdoutFile: join(dir, 'stdout'), stderrFile: join(dir, 'stderr') },
    ...{ timeoutMs: 60_000, graceMs: 5_000, maxOutputBytes: 1024 ** 3 },
    ...changed,
  });
}

const stdout = (): Promise<string> => readFile(join(dir, 'stdout'), 'utf8');

async function pidOf(run: WaitingRun): Promise<number> {
  return await waitFor(
    () => run.pid() ?? 0,
    (pid) => pid > 0,
  );
}

describe('a program that is started before there is anything for it to do', () => {
  test('reads all of what it is given, however long, and then an end', async () => {
    const run = await sh('wc -c');
    const exit = await run.begin('x'.repeat(5_000_000), never);
    expect(exit).toMatchObject({ exitCode: 0, endedBy: null, containment: { level: 'supervisor', survivors: 0 } });
    expect((await stdout()).trim()).toBe('5000000');
  });

  test('has the whole of its time from then on, and of its silence', async () => {
    const run = await sh('read line; sleep 1; echo $line', { timeoutMs: 5_000, idleMs: 4_000 });
    // Longer than it may be silent.
    await delay(4_500);
    const exit = await run.begin('said\n', never);
    expect(exit).toMatchObject({ exitCode: 0, endedBy: null });
    expect(exit.durationMs).toBeGreaterThan(900);
    expect(exit.durationMs).toBeLessThan(4_000);
    expect(await stdout()).toBe('said\n');
  });

  test.each([
    ['timeout', { timeoutMs: 300 }],
    ['idle', { idleMs: 300 }],
  ])('is ended by its %s once it works', async (endedBy, limits) => {
    const run = await sh('read line; sleep 60', { ...limits, graceMs: 500 });
    expect(await run.begin('go\n', never)).toMatchObject({ endedBy });
  });

  test('is ended with the reason of the signal', async () => {
    const controller = new AbortController();
    const run = await sh('read line; echo began; sleep 60', { graceMs: 500 });
    const exit = run.begin('go\n', controller.signal);
    await waitFor(stdout, (text) => text === 'began\n');
    controller.abort('client_gone');
    expect(await exit).toMatchObject({ endedBy: 'client_gone' });
  });

  test('leaves nothing behind when it is not needed any more', async () => {
    const run = await sh('sleep 60 & cat');
    const pid = await pidOf(run);
    await run.discard();
    expect(await isAlive(pid)).toBe(false);
    expect(run.pid()).toBeNull();
    // Too late, and without harm.
    expect(await run.begin('go\n', never)).toMatchObject({ endedBy: 'discarded' });
  });

  test('tells that it has ended by itself', async () => {
    const run = await sh('exit 3');
    await run.ended;
    expect(await run.begin('go\n', never)).toMatchObject({ exitCode: 3, endedBy: null });
  });
});
