import { describe, expect, test } from 'vitest';
import type { JobRecord } from '../../src/jobs/job.ts';
import { createJobId } from '../../src/jobs/job-id.ts';
import type { Admission, Store } from '../../src/jobs/ports.ts';
import { claimOne, completed, type JobOverrides, newJob, roomy, submitTo } from './job-builders.ts';

/** Part of `describeJobStore`: one job per idempotency key, and jobs that are removed by name. */
export function describeIdempotency(fixture: { readonly store: () => Store; reopen(): Promise<Store> }): void {
  const { store, reopen } = fixture;
  const key = { key: 'key-1', hash: 'hash-1' };
  const submit = (overrides: JobOverrides = {}, limits = roomy) =>
    store().jobs.submit(newJob({ idempotency: key, ...overrides }), limits);
  const jobOf = (admission: Admission): JobRecord => {
    if (!('job' in admission)) throw new Error(admission.outcome);
    return admission.job;
  };

  describe('idempotency', () => {
    test('of 50 submits at once with one key one is admitted, and all get its job', async () => {
      const answers = await Promise.all(Array.from({ length: 50 }, () => submit()));
      expect(answers.filter(({ outcome }) => outcome === 'admitted')).toHaveLength(1);
      expect(answers.filter(({ outcome }) => outcome === 'replayed')).toHaveLength(49);
      expect(new Set(answers.map((answer) => jobOf(answer).id)).size).toBe(1);
      expect(store().membership.counts()).toEqual({ queued: 1, running: 0 });
    });

    test('another content is a conflict, another caller or key is another job', async () => {
      const first = jobOf(await submit());
      expect(await submit({ idempotency: { ...key, hash: 'hash-2' } })).toEqual({
        outcome: 'idempotency_conflict',
        job: first,
      });
      for (const other of [{ caller: 'somebody else' }, { idempotency: { ...key, key: 'key-2' } }]) {
        const admission = await submit(other);
        expect([admission.outcome, jobOf(admission).id === first.id]).toEqual(['admitted', false]);
      }
      expect(jobOf(await submit()).id).toBe(first.id);
    });

    test('the job comes as it is now, also when the queue is full and after a restart', async () => {
      const full = { maxUnfinished: 1 };
      const { id } = jobOf(await submit({}, full));
      expect(await submit({}, full)).toMatchObject({ outcome: 'replayed', job: { id, status: 'queued' } });
      const claim = await claimOne(store());
      await reopen();
      await store().membership.recover(3_000);
      const admission = await submit({}, full);
      expect(admission).toEqual({ outcome: 'replayed', job: await store().jobs.get(claim.job.id) });
      expect(jobOf(admission)).toMatchObject({ id, status: 'lost' });
    });

    test('a key goes with its job: evicted or removed', async () => {
      const first = jobOf(await submit());
      await store().jobs.finish(await claimOne(store()), completed(), 3_000);
      expect(await store().jobs.evict(4_000, 10)).toEqual([first.id]);
      const second = await submit({ idempotency: { ...key, hash: 'hash-2' } });
      expect(second.outcome).toBe('admitted');
      await store().jobs.finish(await claimOne(store()), completed(), 3_000);
      expect(await store().keeping.remove(jobOf(second).id)).toBe(true);
      expect((await submit()).outcome).toBe('admitted');
    });

    test('what was refused leaves no key', async () => {
      await submitTo(store());
      expect(await submit({}, { maxUnfinished: 1 })).toEqual({ outcome: 'queue_full' });
      expect(await submit({ idempotency: { ...key, hash: 'hash-2' } })).toMatchObject({ outcome: 'admitted' });
    });
  });

  describe('remove', () => {
    test('takes a final job, and no other', async () => {
      const { id } = await submitTo(store());
      expect(await store().keeping.remove(id)).toBe(false);
      const claim = await claimOne(store());
      expect(await store().keeping.remove(id)).toBe(false);
      await store().jobs.finish(claim, completed({ result: 'text' }), 3_000);
      expect(await store().keeping.remove(id)).toBe(true);
      expect(await store().jobs.get(id)).toBeUndefined();
      expect(await store().keeping.remove(id)).toBeUndefined();
      expect(await store().keeping.remove(createJobId())).toBeUndefined();
      expect(store().membership.counts()).toEqual({ queued: 0, running: 0 });
    });
  });
}
