import { describe, expect, onTestFinished, test, vi } from 'vitest';
import { UnavailableError } from '../../src/jobs/errors.ts';
import type { FinishedJob, JobId } from '../../src/jobs/job.ts';
import { submitTo } from '../contracts/job-builders.ts';
import { completed, createFakeStore, createFakeWorkspaces, createScriptedRunner } from '../helpers/fake-ports.ts';
import { waitFor } from '../helpers/wait.ts';
import {
  beginService,
  createGate,
  createHeldRuns,
  createLateClaims,
  createTestService,
  finalOf,
  settled,
  spec,
  withJobs,
} from './jobs-fixture.ts';

const minuteMs = 60_000;

describe('the start', () => {
  test('ends what a dead process left running, and chats whose callers are gone; the rest runs', async () => {
    const store = createFakeStore();
    const running = await submitTo(store);
    await store.jobs.claim(1, 1_000);
    const chat = await submitTo(store, { spec: { kind: 'chat' } });
    const queued = await submitTo(store);
    const counted: FinishedJob[] = [];
    const service = createTestService({ store, onFinished: (job) => void counted.push(job) });
    await service.recover();
    expect(counted.map(({ id, status }) => [id, status])).toEqual([
      [running.id, 'lost'],
      [chat.id, 'cancelled'],
    ]);
    await service.begin();
    expect(await service.get(running.id)).toMatchObject({ status: 'lost', outcome: { reason: 'lost' } });
    expect(await service.get(chat.id)).toMatchObject({ status: 'cancelled', outcome: { reason: 'client_gone' } });
    expect(await finalOf(service, queued)).toMatchObject({ status: 'completed' });
  });

  test('cleans up before the first job runs, and knows which logs are still wanted', async () => {
    const order: string[] = [];
    const store = createFakeStore();
    const kept = await submitTo(store);
    const known: boolean[] = [];
    const service = createTestService({
      store,
      workspaces: {
        ...createFakeWorkspaces(async () => void order.push('job')),
        sweep: async () => void order.push('workspaces'),
      },
      runner: {
        ...createScriptedRunner(async () => completed()),
        async sweep(isKnown) {
          order.push('runs');
          known.push(await isKnown(kept.id), await isKnown('job_gone' as JobId));
        },
      },
    });
    await service.begin();
    await finalOf(service, kept);
    expect(order.at(-1)).toBe('job');
    expect(order.toSorted()).toEqual(['job', 'runs', 'workspaces']);
    expect(known).toEqual([true, false]);
  });

  test('can be tried again when the cleaning failed, and runs nothing before it went well', async () => {
    let failing = true;
    const sweep = async (): Promise<void> => {
      if (failing) throw new Error('EACCES');
    };
    const workspaces = { ...createFakeWorkspaces(), sweep };
    const service = createTestService({ workspaces });
    const job = await service.submit(spec(), 'tester');
    await expect(service.begin()).rejects.toThrow('EACCES');
    await settled();
    expect((await service.get(job.id)).status).toBe('queued');
    failing = false;
    await service.begin();
    expect((await finalOf(service, job)).status).toBe('completed');
  });

  test('that is overtaken by the end runs nothing', async () => {
    const gate = createGate();
    const runner = createScriptedRunner(async () => completed());
    const service = createTestService({ runner, workspaces: { ...createFakeWorkspaces(), sweep: gate.pass } });
    const job = await service.submit(spec(), 'tester');
    const beginning = service.begin();
    await gate.reached();
    await service.drain(minuteMs);
    gate.open();
    await beginning;
    await service.begin();
    await settled();
    expect((await service.get(job.id)).status).toBe('queued');
    expect(runner.runs).toEqual([]);
  });
});

describe('the end', () => {
  test('waits for what runs, starts nothing more, and leaves queued jobs to the next start', async () => {
    const held = createHeldRuns();
    const service = await beginService({ runner: held.runner, capacity: 1 });
    const [first, second] = [await service.submit(spec(), 'tester'), await service.submit(spec(), 'tester')];
    await held.started(first.id);
    let drained = false;
    const draining = service.drain(minuteMs).then(() => {
      drained = true;
    });
    await settled();
    expect([drained, service.stats().draining]).toEqual([false, true]);
    held.end(first.id);
    await draining;
    expect((await service.get(first.id)).status).toBe('completed');
    expect((await service.get(second.id)).status).toBe('queued');
    expect(held.runner.runs).toHaveLength(1);
  });

  test('leaves no timer behind, also when it overtakes the start', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    onTestFinished(() => void vi.useRealTimers());
    const atWork = await beginService();
    expect(vi.getTimerCount()).toBe(1);
    await atWork.drain(minuteMs);
    const overtaken = createTestService();
    await overtaken.drain(minuteMs);
    await overtaken.begin();
    expect(vi.getTimerCount()).toBe(0);
  });

  test('with nothing to do is there at once, and is the same for all who ask', async () => {
    const service = await beginService();
    const draining = service.drain(minuteMs);
    expect(service.drain(0)).toBe(draining);
    await draining;
  });

  test('ends what still runs when its time is over: lost, because of the shutdown', async () => {
    const held = createHeldRuns();
    const finished: FinishedJob[] = [];
    const service = await beginService({ runner: held.runner, onFinished: (job) => finished.push(job) });
    const job = await service.submit(spec(), 'tester');
    await held.started(job.id);
    await service.drain(5);
    const ended = await service.get(job.id);
    expect(ended).toMatchObject({ status: 'lost', outcome: { status: 'lost', reason: 'shutdown' } });
    expect(finished).toEqual([ended]);
  });

  test('cancels queued chats, however many there are: they never ran, so they are not lost', async () => {
    const finished: FinishedJob[] = [];
    const service = createTestService({ onFinished: (job) => finished.push(job) });
    const kept = await service.submit(spec(), 'tester');
    const chats = await Promise.all(
      Array.from({ length: 450 }, () => service.submit(spec({ kind: 'chat' }), 'tester')),
    );
    const waiting = service.wait(chats[0]?.id ?? '', null, null);
    await service.drain(minuteMs);
    expect(await waiting).toMatchObject({ status: 'cancelled', startedAt: null });
    expect((await waiting).outcome).toMatchObject({ status: 'cancelled', reason: 'shutdown' });
    expect(finished).toHaveLength(450);
    expect(service.stats().queued).toBe(1);
    expect((await service.get(kept.id)).status).toBe('queued');
  });

  test('lets those who wait go also when the queued chats cannot be cancelled', async () => {
    const store = withJobs(createFakeStore(), () => ({
      cancelQueued: () => Promise.reject(new UnavailableError('away')),
    }));
    const service = createTestService({ store });
    const chat = await service.submit(spec({ kind: 'chat' }), 'tester');
    const waiting = service.wait(chat.id, null, null);
    await service.drain(minuteMs);
    expect(await waiting).toMatchObject({ status: 'queued' });
  });

  test('counts its time from its beginning, also while the store hangs', async () => {
    const gate = createGate();
    const store = withJobs(createFakeStore(), (jobs) => ({
      async list(query) {
        await gate.pass();
        return await jobs.list(query);
      },
    }));
    const held = createHeldRuns();
    const service = await beginService({ store, runner: held.runner });
    const job = await service.submit(spec(), 'tester');
    await held.started(job.id);
    const draining = service.drain(5);
    await gate.reached();
    expect((await finalOf(service, job)).outcome).toMatchObject({ status: 'lost', reason: 'shutdown' });
    gate.open();
    await draining;
  });

  test('takes along a claim that was under way when it began', async () => {
    const { gate, store } = createLateClaims();
    const held = createHeldRuns();
    const service = await beginService({ store, runner: held.runner });
    const job = await service.submit(spec(), 'tester');
    await gate.reached();
    const draining = service.drain(minuteMs);
    service.hurry();
    gate.open();
    await draining;
    expect((await service.get(job.id)).outcome).toMatchObject({ status: 'lost', reason: 'shutdown' });
    expect(held.active()).toEqual([]);
  });

  test('in a hurry ends all runs now, and tells the runner', async () => {
    let hurried = 0;
    const held = createHeldRuns();
    const service = await beginService({ runner: { ...held.runner, hurry: () => void (hurried += 1) } });
    const jobs = [await service.submit(spec(), 'tester'), await service.submit(spec(), 'tester')];
    for (const job of jobs) await held.started(job.id);
    const draining = service.drain(minuteMs);
    service.hurry();
    await draining;
    expect(hurried).toBe(1);
    for (const { id } of jobs) expect((await service.get(id)).status).toBe('lost');
  });

  test('does not end before an outcome that the store refuses is written', async () => {
    let failing = true;
    let tries = 0;
    const store = withJobs(createFakeStore(), (jobs) => ({
      async finish(...args) {
        tries += 1;
        if (failing) throw new UnavailableError('no disk space');
        return await jobs.finish(...args);
      },
    }));
    const service = await beginService({ store });
    const job = await service.submit(spec(), 'tester');
    await waitFor(
      () => tries,
      (count) => count > 0,
    );
    const draining = service.drain(minuteMs);
    failing = false;
    await draining;
    expect((await service.get(job.id)).status).toBe('completed');
  });
});
