import { describe, expect, test } from 'vitest';
import { isFinal, type JobId, type JobRecord } from '../../src/jobs/job.ts';
import { createJobId } from '../../src/jobs/job-id.ts';
import type { Store } from '../../src/jobs/ports.ts';
import { waitFor } from '../helpers/wait.ts';
import { cancelled, claimOne, completed, everything, idsOf, newJob, roomy, submitTo } from './job-builders.ts';

/** Part of `describeJobStore`: jobs that start after another one. */
export function describeDependencies(fixture: { readonly store: () => Store; reopen(): Promise<Store> }): void {
  const { store, reopen } = fixture;
  const after = (id: JobId, caller = 'tester') => submitTo(store(), { caller, spec: { after: id } });
  const claimAll = async () => (await store().jobs.claim(9, 2_000)).map(({ job }) => job.id);
  const read = async ({ id }: Pick<JobRecord, 'id'>) => await store().jobs.get(id);
  const failed = { ...completed(), status: 'failed', reason: 'exit_nonzero' } as const;
  const ended = { status: 'cancelled', outcome: { reason: 'dependency' }, startedAt: null, queuePosition: null };

  describe('a job that starts after another one', () => {
    test('has no place in the queue until that one has completed, then that of its admission, and holds nobody up', async () => {
      const first = await submitTo(store());
      const second = await after(first.id);
      const third = await after(second.id);
      const other = await submitTo(store());
      expect([second, third, other].map((job) => job.queuePosition)).toEqual([null, null, 2]);
      expect(second).toEqual(await read(second));
      const claim = await claimOne(store());
      const late = await submitTo(store());
      expect(await claimAll()).toEqual([other.id, late.id]);
      expect(await claimAll()).toEqual([]);
      const last = await submitTo(store());
      await store().jobs.finish(claim, completed(), 3_000);
      expect((await store().jobs.list({ ...everything, status: 'queued' })).jobs).toMatchObject([
        { id: last.id, queuePosition: 2 },
        { id: third.id, queuePosition: null },
        { id: second.id, queuePosition: 1 },
      ]);
      expect(await claimAll()).toEqual([second.id, last.id]);
      expect(store().membership.counts()).toEqual({ queued: 1, running: 4 });
    });

    test('counts as unfinished while it waits', async () => {
      const { id } = await submitTo(store());
      await after(id);
      expect(await store().jobs.submit(newJob(), { maxUnfinished: 2 })).toEqual({ outcome: 'queue_full' });
      await store().jobs.cancelQueued(id, cancelled, 3_000);
      expect(store().membership.counts()).toEqual({ queued: 0, running: 0 });
      expect(await store().jobs.submit(newJob(), { maxUnfinished: 1 })).toMatchObject({ outcome: 'admitted' });
    });

    test('is cancelled with all that was to start after it when that one ends otherwise, and all are told', async () => {
      const told: JobRecord[] = [];
      store().onDependentEnded?.((job) => told.push(job));
      const first = await submitTo(store());
      const chain = [await after(first.id)];
      for (let n = 0; n < 3; n += 1) chain.push(await after(chain.at(-1)?.id ?? first.id));
      const webhooks = [{ url: 'https://one.example/', events: ['final'] as const }];
      chain.push(await submitTo(store(), { spec: { after: first.id, webhooks } }));
      const other = await submitTo(store());
      await store().jobs.finish(await claimOne(store()), failed, 3_000);
      for (const job of chain) expect(await read(job)).toMatchObject({ ...ended, finishedAt: 3_000 });
      await waitFor(
        () => told.length,
        (count) => count === chain.length,
        { what: 'all to be told' },
      );
      expect(idsOf(told).toSorted()).toEqual(idsOf(chain).toSorted());
      expect(told.every(({ status }) => isFinal(status))).toBe(true);
      expect((await store().outbox.take(9, 9_000, 1)).map(({ jobId, type }) => [jobId, type])).toEqual([
        [chain.at(-1)?.id, 'job.cancelled'],
      ]);
      expect(store().membership.counts()).toEqual({ queued: 1, running: 0 });
      expect(await claimAll()).toEqual([other.id]);
    });

    test('is cancelled when that one is, whether it waits itself or not', async () => {
      const first = await submitTo(store());
      const second = await after(first.id);
      const third = await after(second.id);
      const answer = await store().jobs.cancelQueued(second.id, cancelled, 3_000);
      expect(answer).toMatchObject({ changed: true, job: { status: 'cancelled', outcome: { reason: 'cancelled' } } });
      expect([await read(first), await read(third)]).toMatchObject([{ status: 'queued' }, ended]);
      expect(store().membership.counts()).toEqual({ queued: 1, running: 0 });
    });

    test('submitted when that one is final starts at once, or has ended already', async () => {
      const first = await submitTo(store());
      await store().jobs.finish(await claimOne(store()), completed(), 3_000);
      const second = await after(first.id);
      expect(second.queuePosition).toBe(1);
      await store().jobs.finish(await claimOne(store()), failed, 4_000);
      const third = await after(second.id);
      expect(third).toMatchObject(ended);
      expect(await after(third.id)).toMatchObject(ended);
      expect(store().membership.counts()).toEqual({ queued: 0, running: 0 });
    });

    test('that is not there, is of another caller or is over is refused, and nothing is written', async () => {
      const unknown = { outcome: 'unknown_dependency' };
      const first = await submitTo(store());
      const submit = async (id: JobId, caller: string, goneBefore = 0) =>
        await store().jobs.submit(newJob({ caller, spec: { after: id } }), { ...roomy, goneBefore });
      expect(await submit(createJobId(), 'tester')).toEqual(unknown);
      expect(await submit(first.id, 'another')).toEqual(unknown);
      await store().jobs.finish(await claimOne(store()), completed(), 3_000);
      expect(await submit(first.id, 'tester', 3_000)).toEqual(unknown);
      expect((await store().jobs.list(everything)).jobs).toHaveLength(1);
      expect(await submit(first.id, 'tester', 2_999)).toMatchObject({ outcome: 'admitted' });
    });

    test('a repeated submit gets the first job, also when the one to start after is gone', async () => {
      const first = await submitTo(store());
      const idempotency = { key: 'k', hash: 'h' };
      const second = await submitTo(store(), { idempotency, spec: { after: first.id } });
      await store().jobs.finish(await claimOne(store()), completed(), 3_000);
      await store().keeping.remove(first.id);
      const again = await store().jobs.submit(newJob({ idempotency, spec: { after: first.id } }), roomy);
      expect(again).toMatchObject({ outcome: 'replayed', job: { id: second.id, queuePosition: 1 } });
    });

    test('waits on after a restart; one that was to start after a lost job is cancelled', async () => {
      const [first, other] = [await submitTo(store()), await submitTo(store())];
      const waiting = await after(other.id);
      const doomed = await after(first.id);
      const chat = await submitTo(store(), { spec: { kind: 'chat' } });
      const afterChat = await after(chat.id);
      await claimOne(store());
      await reopen();
      const changed = await store().membership.recover(5_000);
      expect(changed.toSorted()).toEqual(idsOf([first, doomed, chat, afterChat]).toSorted());
      for (const job of [doomed, afterChat]) expect(await read(job)).toMatchObject(ended);
      expect(store().membership.counts()).toEqual({ queued: 2, running: 0 });
      await store().jobs.finish(await claimOne(store()), completed(), 6_000);
      expect(await claimAll()).toEqual([waiting.id]);
    });
  });
}
