import { describe, expect, test } from 'vitest';
import { QueueFullError, UnavailableError } from '../../src/jobs/errors.ts';
import type { JobId } from '../../src/jobs/job.ts';
import { createJobId } from '../../src/jobs/job-id.ts';
import type { ReadyIds } from '../../src/jobs/ports.ts';
import { createFakeStore } from '../helpers/fake-ports.ts';
import { beginService, createHeldRuns, finalOf, spec, withJobs } from './jobs-fixture.ts';

interface FakeReadyIds extends ReadyIds {
  readonly given: JobId[];
  readonly released: JobId[];
}

function createReadyIds(): FakeReadyIds {
  const given: JobId[] = [];
  const released: JobId[] = [];
  return {
    given,
    released,
    reserve({ kind }) {
      if (kind !== 'chat') return null;
      given.push(createJobId());
      return given.at(-1) ?? null;
    },
    release: (id) => void released.push(id),
  };
}

const chat = spec({ kind: 'chat' });

describe('a job for which something was made ready', () => {
  test('has the id under which it is', async () => {
    const readyIds = createReadyIds();
    const service = await beginService({ readyIds });
    const job = await service.submit(chat, 'tester');
    expect([job.id]).toEqual(readyIds.given);
    expect(await finalOf(service, job)).toMatchObject({ status: 'completed' });
    expect(readyIds.released).toEqual([]);
  });

  test('is one that starts at once: another has an id of its own', async () => {
    const readyIds = createReadyIds();
    const held = createHeldRuns();
    const service = await beginService({ readyIds, runner: held.runner, capacity: 1 });
    const first = await service.submit(chat, 'tester');
    await held.started(first.id);
    const second = await service.submit(chat, 'tester');
    const third = await service.submit(spec({ kind: 'execute' }), 'tester');
    expect(readyIds.given).toEqual([first.id]);
    expect(new Set([first.id, second.id, third.id]).size).toBe(3);
  });

  test('gives it back where it is refused, or was there already', async () => {
    const readyIds = createReadyIds();
    const held = createHeldRuns();
    const service = await beginService({ readyIds, runner: held.runner, maxUnfinished: 1 });
    const once = { key: 'k', hash: 'h' };
    const { job } = await service.submitOnce(chat, 'tester', once);
    await held.started(job.id);
    expect(await service.submitOnce(chat, 'tester', once)).toMatchObject({ replayed: true, job: { id: job.id } });
    await expect(service.submit(chat, 'tester')).rejects.toThrow(QueueFullError);
    expect(readyIds.released).toEqual(readyIds.given.slice(1));
    expect(readyIds.released).toHaveLength(2);
  });

  test('does not give it back where the store did not answer: the job may be there', async () => {
    const readyIds = createReadyIds();
    const store = withJobs(createFakeStore(), () => ({ submit: () => Promise.reject(new UnavailableError('away')) }));
    const service = await beginService({ store, readyIds });
    await expect(service.submit(chat, 'tester')).rejects.toThrow('away');
    expect([readyIds.given.length, readyIds.released.length]).toEqual([1, 0]);
  });
});
