import { describe, expect, onTestFinished, test, vi } from 'vitest';
import type { JobId } from '../../src/jobs/job.ts';
import type { AgentRunner, JobStore } from '../../src/jobs/ports.ts';
import { startRetention } from '../../src/jobs/retention.ts';
import { cancelled, claimOne, completed, everything, idsOf, submitTo } from '../contracts/job-builders.ts';
import { createFakeStore, createScriptedRunner, silentLog } from '../helpers/fake-ports.ts';
import { waitFor } from '../helpers/wait.ts';
import { createGate, settled, withJobs } from './jobs-fixture.ts';

const ttlMs = 1_000;

interface Options {
  readonly jobs?: (jobs: JobStore) => Partial<JobStore>;
  readonly forget?: AgentRunner['forget'];
}

function setUp({ jobs = () => ({}), forget = async () => {} }: Options = {}) {
  const limits: number[] = [];
  const time = { now: 1_000 };
  const store = withJobs(createFakeStore(), (real) => ({
    evict(finishedBefore, limit) {
      limits.push(limit);
      return real.evict(finishedBefore, limit);
    },
    ...jobs(real),
  }));
  const forgotten: JobId[] = [];
  const runner = {
    ...createScriptedRunner(async () => completed()),
    async forget(id: JobId) {
      await forget(id);
      forgotten.push(id);
    },
  };
  const start = () => {
    const clock = { now: () => time.now };
    const stop = startRetention({ store: store.jobs, runner, clock, log: silentLog, ttlMs });
    onTestFinished(stop);
    return stop;
  };
  return { store, time, limits, forgotten, start };
}

describe('retention', () => {
  test('removes final jobs past their time with their logs, and never what is queued or runs', async () => {
    const { store, time, forgotten, start } = setUp();
    const old = [await submitTo(store), await submitTo(store)];
    await store.jobs.finish(await claimOne(store), completed(), 2_000);
    await store.jobs.cancelQueued(old[1]?.id ?? ('' as JobId), cancelled, 2_000);
    const running = await submitTo(store);
    await claimOne(store);
    const queued = await submitTo(store);
    time.now = 2_000 + ttlMs;
    start();
    time.now += 1;
    await waitFor(
      () => forgotten.length,
      (length) => length === 2,
    );
    expect(forgotten.toSorted()).toEqual(idsOf(old).toSorted());
    expect(idsOf((await store.jobs.list(everything)).jobs)).toEqual([queued.id, running.id]);
  });

  test('works off a large backlog in small batches without waiting in between', async () => {
    const { store, time, limits, forgotten, start } = setUp();
    for (let n = 0; n < 350; n += 1) await store.jobs.cancelQueued((await submitTo(store)).id, cancelled, 2_000);
    time.now = 1_000_000;
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    onTestFinished(() => void vi.useRealTimers());
    start();
    await vi.advanceTimersToNextTimerAsync();
    await settled();
    expect(forgotten).toHaveLength(350);
    expect(limits).toEqual([100, 100, 100, 100]);
  });

  test('goes on after the store failed', async () => {
    let failures = 1;
    const { store, time, forgotten, start } = setUp({
      jobs: (real) => ({
        async evict(...args) {
          failures -= 1;
          if (failures >= 0) throw new Error('away');
          return await real.evict(...args);
        },
      }),
    });
    await store.jobs.cancelQueued((await submitTo(store)).id, cancelled, 2_000);
    time.now = 1_000_000;
    start();
    await waitFor(
      () => forgotten.length,
      (length) => length === 1,
    );
    expect((await store.jobs.list(everything)).jobs).toEqual([]);
  });

  test('a log that cannot be removed does not keep those after it', async () => {
    let refused: JobId | undefined;
    const { store, time, forgotten, start } = setUp({
      async forget(id) {
        refused ??= id;
        if (id === refused) throw new Error('EBUSY');
      },
    });
    for (let n = 0; n < 3; n += 1) await store.jobs.cancelQueued((await submitTo(store)).id, cancelled, 2_000);
    time.now = 1_000_000;
    start();
    await waitFor(
      () => refused,
      (id) => id !== undefined,
    );
    await waitFor(
      () => forgotten.length,
      (length) => length === 2,
      { timeoutMs: 5_000 },
    );
    expect(forgotten).not.toContain(refused);
  });

  test('once stopped has ended what was under way and looks no more', async () => {
    const gate = createGate();
    let looks = 0;
    const { store, time, forgotten, start } = setUp({
      jobs: (real) => ({
        async evict(...args) {
          looks += 1;
          await gate.pass();
          return await real.evict(...args);
        },
      }),
    });
    for (let n = 0; n < 150; n += 1) await store.jobs.cancelQueued((await submitTo(store)).id, cancelled, 2_000);
    time.now = 1_000_000;
    const stop = start();
    await gate.reached();
    const stopping = stop();
    gate.open();
    await stopping;
    expect([looks, forgotten.length]).toEqual([1, 100]);
  });
});
