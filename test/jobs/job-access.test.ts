import { describe, expect, test } from 'vitest';
import { completed, createFakeStore } from '../helpers/fake-ports.ts';
import { waitFor } from '../helpers/wait.ts';
import {
  beginService,
  createGate,
  createHeldRuns,
  createTestService,
  settled,
  spec,
  withJobs,
} from './jobs-fixture.ts';

describe('waiting for the end of a job', () => {
  test('of a final one is answered at once', async () => {
    const service = createTestService();
    const job = await service.submit(spec(), 'tester');
    const { job: cancelled } = await service.cancel(job.id, 'cancelled');
    expect(await service.wait(job.id, null, null)).toEqual(cancelled);
  });

  test('is answered, for all who wait, as soon as it ends', async () => {
    const held = createHeldRuns();
    const service = await beginService({ runner: held.runner });
    const job = await service.submit(spec(), 'tester');
    const waiting = Array.from({ length: 20 }, () => service.wait(job.id, 60_000, null));
    await held.started(job.id);
    held.end(job.id, completed({ result: 'Done.' }));
    const answers = await Promise.all(waiting);
    expect(new Set(answers.map((answer) => answer.outcome?.report.result))).toEqual(new Set(['Done.']));
  });

  test('is answered with the state of then when the time is over', async () => {
    const held = createHeldRuns();
    const service = await beginService({ runner: held.runner, capacity: 1 });
    const [first, second] = [await service.submit(spec(), 'tester'), await service.submit(spec(), 'tester')];
    await held.started(first.id);
    expect(await service.wait(first.id, 5, null)).toMatchObject({ status: 'running' });
    expect(await service.wait(second.id, 5, null)).toMatchObject({ status: 'queued', queuePosition: 1 });
  });

  test('ends when its caller leaves; the job goes on', async () => {
    const held = createHeldRuns();
    const service = await beginService({ runner: held.runner });
    const job = await service.submit(spec(), 'tester');
    await held.started(job.id);
    const leaving = new AbortController();
    const waiting = service.wait(job.id, null, leaving.signal);
    await settled();
    leaving.abort(new Error('gone'));
    await expect(waiting).rejects.toThrow('gone');
    await expect(service.wait(job.id, null, leaving.signal)).rejects.toThrow('gone');
    expect((await service.get(job.id)).status).toBe('running');
  });

  test('of a job that has not started ends with the service; of a running one with the job', async () => {
    const held = createHeldRuns();
    const service = await beginService({ runner: held.runner, capacity: 1 });
    const [first, second] = [await service.submit(spec(), 'tester'), await service.submit(spec(), 'tester')];
    await held.started(first.id);
    const running = service.wait(first.id, null, null);
    const queued = service.wait(second.id, null, null);
    const drained = service.drain(60_000);
    expect(await queued).toMatchObject({ status: 'queued' });
    expect(await service.wait(second.id, null, null)).toMatchObject({ status: 'queued' });
    held.end(first.id);
    expect(await running).toMatchObject({ status: 'completed' });
    await drained;
  });

  test('survives that the end comes while the state is being read', async () => {
    const gate = createGate();
    let slow = false;
    const store = withJobs(createFakeStore(), (jobs) => ({
      async get(id) {
        const job = await jobs.get(id);
        if (slow) await gate.pass();
        return job;
      },
    }));
    const held = createHeldRuns();
    const service = await beginService({ store, runner: held.runner });
    const job = await service.submit(spec(), 'tester');
    await held.started(job.id);
    slow = true;
    const waiting = service.wait(job.id, null, null);
    await gate.reached();
    held.end(job.id);
    await waitFor(
      () => service.stats().active,
      (active) => active === 0,
    );
    gate.open();
    expect((await waiting).status).toBe('completed');
  });
});
