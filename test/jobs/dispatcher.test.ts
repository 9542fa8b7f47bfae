import { describe, expect, onTestFinished, test, vi } from 'vitest';
import { createDispatcher } from '../../src/jobs/dispatcher.ts';
import { UnavailableError } from '../../src/jobs/errors.ts';
import type { JobId } from '../../src/jobs/job.ts';
import type { Claim, JobStore, Store } from '../../src/jobs/ports.ts';
import { createMemoryQueue } from '../../src/queue/memory-queue.ts';
import { idsOf, submitTo } from '../contracts/job-builders.ts';
import { createFakeStore, silentLog, systemClock } from '../helpers/fake-ports.ts';
import { waitFor } from '../helpers/wait.ts';
import { createGate, settled, withJobs } from './jobs-fixture.ts';

interface Options {
  readonly capacity?: number;
  readonly jobs?: (jobs: JobStore) => Partial<JobStore>;
  readonly run?: (claim: Claim) => Promise<void>;
}

/** A dispatcher whose runs last until they are ended by hand. */
function setUp({ capacity = 2, jobs = () => ({}), run }: Options = {}) {
  const store: Store = withJobs(createFakeStore(), jobs);
  const started: JobId[] = [];
  const active = new Map<JobId, () => void>();
  let most = 0;
  const hold = async (claim: Claim): Promise<void> => {
    started.push(claim.job.id);
    const { promise, resolve } = Promise.withResolvers<void>();
    active.set(claim.job.id, resolve);
    most = Math.max(most, active.size);
    await promise;
    active.delete(claim.job.id);
  };
  const queue = createMemoryQueue(capacity);
  const dispatcher = createDispatcher({ store, queue, clock: systemClock, log: silentLog, run: run ?? hold });
  onTestFinished(() => dispatcher.stop());
  return {
    ...{ store, queue, dispatcher, started, active },
    most: () => most,
    submit: () => submitTo(store),
    end: (id: JobId | undefined) => id !== undefined && active.get(id)?.(),
  };
}

function failing(times: number) {
  let left = times;
  let tries = 0;
  return {
    tries: () => tries,
    jobs: (jobs: JobStore): Partial<JobStore> => ({
      async claim(...args) {
        tries += 1;
        left -= 1;
        if (left >= 0) throw new UnavailableError('no disk space');
        return await jobs.claim(...args);
      },
    }),
  };
}

describe('the dispatcher', () => {
  test('runs 1,000 jobs in ten places exactly once each, in the order of their admission', async () => {
    const ran: JobId[] = [];
    let active = 0;
    let most = 0;
    const { dispatcher, submit, queue, store } = setUp({
      capacity: 10,
      async run(claim) {
        ran.push(claim.job.id);
        most = Math.max(most, ++active);
        for (let turns = ran.length % 4; turns > 0; turns -= 1) await new Promise((resolve) => setImmediate(resolve));
        active -= 1;
      },
    });
    dispatcher.begin();
    const admitted = await Promise.all(
      Array.from({ length: 1_000 }, async () => {
        const job = await submit();
        dispatcher.notify();
        return job;
      }),
    );
    await waitFor(
      () => ran.length,
      (length) => length >= 1_000,
    );
    await queue.idle();
    expect(ran).toEqual(idsOf(admitted));
    expect(most).toBe(10);
    expect(store.membership.counts().queued).toBe(0);
  });

  test('gives a place that is freed to the oldest that waits, at once', async () => {
    const { dispatcher, submit, started, end, most } = setUp();
    const jobs = [await submit(), await submit(), await submit(), await submit()];
    const ids = idsOf(jobs);
    dispatcher.begin();
    await settled();
    expect(started).toEqual(ids.slice(0, 2));
    end(ids[1]);
    await settled();
    expect(started).toEqual(ids.slice(0, 3));
    end(ids[0]);
    await settled();
    expect(started).toEqual(ids);
    expect(most()).toBe(2);
    for (const id of ids) end(id);
  });

  test('claims nothing before it begins, and then all that was admitted before', async () => {
    const { dispatcher, submit, started, end } = setUp();
    const job = await submit();
    dispatcher.notify();
    await settled();
    expect(started).toEqual([]);
    dispatcher.begin();
    await settled();
    expect(started).toEqual([job.id]);
    end(job.id);
  });

  test('claims nothing once it was stopped, whoever asks', async () => {
    const { dispatcher, submit, started, end } = setUp({ capacity: 1 });
    const [first] = [await submit(), await submit()];
    dispatcher.begin();
    await settled();
    await dispatcher.stop();
    end(first?.id);
    dispatcher.notify();
    dispatcher.begin();
    await settled();
    expect(started).toEqual([first?.id]);
  });

  test('hands over what a claim under way brings before its stop is through', async () => {
    const gate = createGate();
    const { dispatcher, submit, started, end } = setUp({
      jobs: (jobs) => ({
        async claim(...args) {
          const claims = await jobs.claim(...args);
          await gate.pass();
          return claims;
        },
      }),
    });
    const job = await submit();
    dispatcher.begin();
    await gate.reached();
    let stopped = false;
    const stopping = dispatcher.stop().then(() => {
      stopped = true;
    });
    await settled();
    expect([stopped, started]).toEqual([false, []]);
    gate.open();
    await stopping;
    expect(started).toEqual([job.id]);
    end(job.id);
  });

  test('looks again when a hint came while it was claiming', async () => {
    const gate = createGate();
    let claims = 0;
    const { dispatcher, submit, started, end } = setUp({
      jobs: (jobs) => ({
        async claim(...args) {
          const found = await jobs.claim(...args);
          claims += 1;
          if (claims === 1) await gate.pass();
          return found;
        },
      }),
    });
    const first = await submit();
    dispatcher.begin();
    await gate.reached();
    const second = await submit();
    dispatcher.notify();
    gate.open();
    await settled();
    expect(started).toEqual([first.id, second.id]);
    for (const id of started) end(id);
  });

  test('never has two claims under way', async () => {
    let under = 0;
    let most = 0;
    const { dispatcher, submit, queue } = setUp({
      run: async () => {},
      jobs: (jobs) => ({
        async claim(...args) {
          most = Math.max(most, ++under);
          await settled();
          under -= 1;
          return await jobs.claim(...args);
        },
      }),
    });
    dispatcher.begin();
    for (let n = 0; n < 20; n += 1) {
      await submit();
      dispatcher.notify();
    }
    await settled();
    await queue.idle();
    expect(most).toBe(1);
  });
});

describe('a claim that fails', () => {
  test('is tried again after a while without any hint', async () => {
    const { jobs, tries } = failing(1);
    const { dispatcher, submit, started, end } = setUp({ jobs });
    const job = await submit();
    dispatcher.begin();
    await waitFor(
      () => started,
      ({ length }) => length === 1,
    );
    expect(started).toEqual([job.id]);
    expect(tries()).toBe(2);
    end(job.id);
  });

  test('is tried again at once for a new hint, and is not asked for in a circle', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    onTestFinished(() => void vi.useRealTimers());
    const { jobs, tries } = failing(3);
    const { dispatcher, submit, started, end } = setUp({ jobs });
    const job = await submit();
    dispatcher.begin();
    await settled();
    expect(tries()).toBe(1);
    dispatcher.notify();
    dispatcher.notify();
    await settled();
    expect(tries()).toBeLessThanOrEqual(3);
    await vi.advanceTimersByTimeAsync(1_000);
    await vi.advanceTimersByTimeAsync(1_000);
    expect(started).toEqual([job.id]);
    expect(vi.getTimerCount()).toBe(0);
    end(job.id);
  });

  test('leaves no timer behind when it fails during the stop', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    onTestFinished(() => void vi.useRealTimers());
    const gate = createGate();
    const { dispatcher, submit } = setUp({
      jobs: () => ({
        async claim() {
          await gate.pass();
          throw new UnavailableError('closed');
        },
      }),
    });
    await submit();
    dispatcher.begin();
    await gate.reached();
    const stopping = dispatcher.stop();
    gate.open();
    await stopping;
    expect(vi.getTimerCount()).toBe(0);
  });

  test('is not tried again once the dispatcher was stopped', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    onTestFinished(() => void vi.useRealTimers());
    const { jobs, tries } = failing(1);
    const { dispatcher, submit } = setUp({ jobs });
    await submit();
    dispatcher.begin();
    await settled();
    expect([tries(), vi.getTimerCount()]).toEqual([1, 1]);
    await dispatcher.stop();
    expect(vi.getTimerCount()).toBe(0);
  });
});
