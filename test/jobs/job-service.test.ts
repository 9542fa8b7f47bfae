import { describe, expect, test } from 'vitest';
import { JobNotFoundError, QueueFullError, UnavailableError } from '../../src/jobs/errors.ts';
import type { FinishedJob, JobRecord } from '../../src/jobs/job.ts';
import { createJobId } from '../../src/jobs/job-id.ts';
import { everything, idsOf } from '../contracts/job-builders.ts';
import { completed, createFakeStore, createFakeWorkspaces } from '../helpers/fake-ports.ts';
import {
  beginService,
  createGate,
  createHeldRuns,
  createLateClaims,
  createTestService,
  finalOf,
  spec,
  withJobs,
} from './jobs-fixture.ts';

const admittedOf = (results: readonly PromiseSettledResult<JobRecord>[]): JobRecord[] =>
  results.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : []));

describe('submitting', () => {
  test('answers with the queued job and its place', async () => {
    const service = createTestService();
    await service.submit(spec(), 'somebody');
    const job = await service.submit(spec({ prompt: 'Do it.' }), 'somebody');
    expect(job).toMatchObject({ status: 'queued', queuePosition: 2, caller: 'somebody', spec: { prompt: 'Do it.' } });
    expect(await service.get(job.id)).toEqual(job);
  });

  test('admits exactly as many as have room, however many arrive at once, and tells the others the limit', async () => {
    const service = createTestService({ maxUnfinished: 7 });
    const results = await Promise.allSettled(Array.from({ length: 50 }, () => service.submit(spec(), 'tester')));
    expect(admittedOf(results)).toHaveLength(7);
    const refusals = results.flatMap((result): unknown[] => (result.status === 'rejected' ? [result.reason] : []));
    expect(refusals.every((error) => error instanceof QueueFullError && error.maxUnfinished === 7)).toBe(true);
    expect(service.stats()).toEqual({ active: 0, queued: 7, capacity: 10, draining: false });
  });

  test('counts what runs and what waits together, and has room again when one ends', async () => {
    const held = createHeldRuns();
    const service = await beginService({ runner: held.runner, capacity: 1, maxUnfinished: 2 });
    const first = await service.submit(spec(), 'tester');
    await held.started(first.id);
    await service.submit(spec(), 'tester');
    await expect(service.submit(spec(), 'tester')).rejects.toThrow(QueueFullError);
    held.end(first.id);
    await finalOf(service, first);
    await expect(service.submit(spec(), 'tester')).resolves.toMatchObject({ status: 'queued' });
  });

  test('is refused while the service shuts down', async () => {
    const service = await beginService();
    void service.drain(0);
    await expect(service.submit(spec(), 'tester')).rejects.toThrow(UnavailableError);
    expect(service.stats().draining).toBe(true);
  });

  test('passes on that the store is away', async () => {
    const store = withJobs(createFakeStore(), () => ({ submit: () => Promise.reject(new UnavailableError('away')) }));
    const service = await beginService({ store });
    await expect(service.submit(spec(), 'tester')).rejects.toThrow('away');
  });
});

describe('reading', () => {
  test('finds neither what no job has as an id, nor what no longer has a job', async () => {
    const service = createTestService();
    for (const id of ['', 'job_', '../../etc/passwd', createJobId()]) {
      await expect(service.get(id)).rejects.toThrow(JobNotFoundError);
      await expect(service.cancel(id, 'cancelled')).rejects.toThrow(JobNotFoundError);
      await expect(service.wait(id, 0, null)).rejects.toThrow(JobNotFoundError);
      await expect(service.follow(id, new AbortController().signal)[Symbol.asyncIterator]().next()).rejects.toThrow(
        JobNotFoundError,
      );
    }
  });

  test('ids that cannot be never reach the store', async () => {
    const asked: string[] = [];
    const store = withJobs(createFakeStore(), (jobs) => ({
      get: (id) => {
        asked.push(id);
        return jobs.get(id);
      },
    }));
    await expect(createTestService({ store }).get("' OR 1=1 --")).rejects.toThrow(JobNotFoundError);
    expect(asked).toEqual([]);
  });

  test('a job past its time is gone for every reader, although its row is there', async () => {
    let now = 1_000;
    const store = createFakeStore();
    const service = await beginService({ store, clock: { now: () => now }, ttlMs: 5_000 });
    const job = await service.submit(spec(), 'tester');
    const { finishedAt } = await finalOf(service, job);
    now = (finishedAt ?? 0) + 4_999;
    expect((await service.get(job.id)).status).toBe('completed');
    expect((await service.list(everything)).jobs).toHaveLength(1);
    now += 1;
    await expect(service.get(job.id)).rejects.toThrow(JobNotFoundError);
    await expect(service.wait(job.id, 0, null)).rejects.toThrow(JobNotFoundError);
    await expect(service.cancel(job.id, 'cancelled')).rejects.toThrow(JobNotFoundError);
    expect((await service.list(everything)).jobs).toEqual([]);
    expect(await store.jobs.get(job.id)).toBeDefined();
  });

  test('a job that waited or ran longer than jobs are kept is there as long as it is not final', async () => {
    let now = 1_000;
    const held = createHeldRuns();
    const service = await beginService({ runner: held.runner, clock: { now: () => now }, ttlMs: 5_000, capacity: 1 });
    const first = await service.submit(spec(), 'tester');
    const second = await service.submit(spec(), 'tester');
    await held.started(first.id);
    now += 60_000;
    expect([(await service.get(first.id)).status, (await service.get(second.id)).status]).toEqual([
      'running',
      'queued',
    ]);
    held.end(first.id);
    expect((await finalOf(service, first)).status).toBe('completed');
  });

  test('lists what fits the query, newest first', async () => {
    const service = createTestService();
    const mine = [await service.submit(spec(), 'me'), await service.submit(spec(), 'me')];
    await service.submit(spec(), 'you');
    await service.cancel(mine[0]?.id ?? '', 'cancelled');
    const ofMine = await service.list({ ...everything, caller: 'me' });
    expect(idsOf(ofMine.jobs)).toEqual(idsOf(mine).reverse());
    const cancelled = await service.list({ ...everything, status: 'cancelled' });
    expect(idsOf(cancelled.jobs)).toEqual([mine[0]?.id]);
  });
});

describe('cancelling', () => {
  test('ends a queued job at once, and no agent starts', async () => {
    const held = createHeldRuns();
    const finished: FinishedJob[] = [];
    const service = await beginService({ runner: held.runner, capacity: 1, onFinished: (job) => finished.push(job) });
    const first = await service.submit(spec(), 'tester');
    const second = await service.submit(spec(), 'tester');
    await held.started(first.id);
    const { job, changed } = await service.cancel(second.id, 'cancelled');
    expect(changed).toBe(true);
    expect(job).toMatchObject({ status: 'cancelled', queuePosition: null, startedAt: null });
    expect(job.outcome).toMatchObject({ status: 'cancelled', reason: 'cancelled' });
    expect(service.stats().queued).toBe(0);
    expect(await service.cancel(second.id, 'client_gone')).toEqual({ job, changed: false });
    held.end(first.id);
    await finalOf(service, first);
    expect(held.runner.runs).toHaveLength(1);
    expect(finished.map((end) => end.id).sort()).toEqual([first.id, second.id].sort());
  });

  test('ends a running job with the first reason, and says so to whoever asks again', async () => {
    const held = createHeldRuns();
    const finished: FinishedJob[] = [];
    const service = await beginService({ runner: held.runner, onFinished: (job) => finished.push(job) });
    const job = await service.submit(spec(), 'tester');
    await held.started(job.id);
    expect(await service.cancel(job.id, 'client_gone')).toMatchObject({ changed: true, job: { status: 'running' } });
    await service.cancel(job.id, 'cancelled');
    const ended = await finalOf(service, job);
    expect(ended.outcome).toMatchObject({ status: 'cancelled', reason: 'client_gone' });
    expect(await service.cancel(job.id, 'cancelled')).toEqual({ job: ended, changed: false });
    expect(finished).toEqual([ended]);
  });

  test('ends the making of a workspace', async () => {
    const gate = createGate();
    const workspaces = createFakeWorkspaces(async (signal) => {
      void gate.pass();
      await new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)));
    });
    const held = createHeldRuns();
    const service = await beginService({ runner: held.runner, workspaces });
    const job = await service.submit(spec(), 'tester');
    await gate.reached();
    await service.cancel(job.id, 'cancelled');
    expect((await finalOf(service, job)).outcome).toMatchObject({ status: 'cancelled', reason: 'cancelled' });
    expect(held.runner.runs).toEqual([]);
  });

  test('ends a job whose claim is still on its way when it arrives, with the first reason', async () => {
    const { gate, store } = createLateClaims();
    const held = createHeldRuns();
    const service = await beginService({ store, runner: held.runner });
    const job = await service.submit(spec(), 'tester');
    await gate.reached();
    expect(await service.cancel(job.id, 'client_gone')).toMatchObject({ changed: true, job: { status: 'running' } });
    await service.cancel(job.id, 'cancelled');
    gate.open();
    expect((await finalOf(service, job)).outcome).toMatchObject({ status: 'cancelled', reason: 'client_gone' });
    expect(held.active()).toEqual([]);
  });

  test('of a job that has just ended does nothing to the jobs after it', async () => {
    // The state that cancel reads is older than the end of the run.
    const gate = createGate();
    const store = withJobs(createFakeStore(), (jobs) => ({
      async cancelQueued(...args) {
        const cancellation = await jobs.cancelQueued(...args);
        await gate.pass();
        return cancellation;
      },
    }));
    const held = createHeldRuns();
    const service = await beginService({ store, runner: held.runner, capacity: 1 });
    const job = await service.submit(spec(), 'tester');
    await held.started(job.id);
    const cancelling = service.cancel(job.id, 'cancelled');
    await gate.reached();
    held.end(job.id, completed());
    expect((await finalOf(service, job)).status).toBe('completed');
    gate.open();
    await cancelling;
    for (let n = 0; n < 3; n += 1) {
      const next = await service.submit(spec(), 'tester');
      await held.started(next.id);
      held.end(next.id);
      expect((await finalOf(service, next)).status).toBe('completed');
    }
  });
});
