import { describe, expect, test } from 'vitest';
import { outcomeWithoutAgent } from '../../src/jobs/job.ts';
import type { Store } from '../../src/jobs/ports.ts';
import { cancelled, claimOne, completed, idsOf, submitTo } from './job-builders.ts';

/** Part of `describeJobStore`: jobs that may be started again after a run that was lost. */
export function describeAttempts(fixture: { readonly store: () => Store; reopen(): Promise<Store> }): void {
  const { store, reopen } = fixture;
  const submit = (maxAttempts: number) => submitTo(store(), { spec: { maxAttempts } });
  const shutdown = outcomeWithoutAgent('lost', 'shutdown', 'The service was stopped.');
  const restart = async (now: number) => {
    await reopen();
    return await store().membership.recover(now);
  };

  describe('attempts', () => {
    test('a job whose run was lost is queued again at its old place until its attempts are used', async () => {
      const [job, other] = [await submit(3), await submit(1)];
      await claimOne(store());
      expect(await restart(5_000)).toEqual([job.id]);
      const once = { startedAt: 2_000, endedAt: 5_000, reason: 'lost' };
      const again = { status: 'queued', queuePosition: 1, startedAt: null, attempt: 1, earlier: [once], outcome: null };
      expect(await store().jobs.get(job.id)).toMatchObject(again);
      expect(store().membership.counts()).toEqual({ queued: 2, running: 0 });
      const claim = await claimOne(store());
      expect(claim).toMatchObject({ attempt: 2, job: { id: job.id, attempt: 2, startedAt: 2_000 } });
      const twice = { startedAt: 2_000, endedAt: 6_000, reason: 'shutdown' };
      const left = await store().jobs.finish(claim, shutdown, 6_000);
      expect(left).toMatchObject({ status: 'queued', queuePosition: 1, attempt: 2, earlier: [once, twice] });
      expect(await store().jobs.finish(claim, shutdown, 6_000)).toBeUndefined();
      expect(store().membership.counts()).toEqual({ queued: 2, running: 0 });
      await claimOne(store());
      expect(await restart(7_000)).toEqual([job.id]);
      expect(await store().jobs.get(job.id)).toMatchObject({ status: 'lost', attempt: 3, earlier: [once, twice] });
      expect((await store().jobs.claim(9, 8_000)).map((next) => next.job.id)).toEqual([other.id]);
    });

    test('a run that ended by itself was the last, and a claim of an earlier attempt writes nothing', async () => {
      await submit(5);
      const first = await claimOne(store());
      await store().jobs.finish(first, shutdown, 3_000);
      const second = await claimOne(store());
      expect(await store().jobs.finish(first, completed(), 4_000)).toBeUndefined();
      const failed = { ...completed(), status: 'failed', reason: 'exit_nonzero' } as const;
      expect(await store().jobs.finish(second, failed, 5_000)).toMatchObject({ status: 'failed', attempt: 2 });
      expect(await restart(6_000)).toEqual([]);
      expect(store().membership.counts()).toEqual({ queued: 0, running: 0 });
    });

    test('one whose end was asked for is not started again, also after a restart', async () => {
      const [first, second] = [await submit(5), await submit(5)];
      const claims = await store().jobs.claim(2, 2_000);
      for (const { job } of claims) {
        expect(await store().jobs.cancelQueued(job.id, cancelled, 3_000)).toEqual({ changed: false, job });
      }
      const [claim] = claims;
      if (claim === undefined) throw new Error('nothing was claimed');
      expect(await store().jobs.finish(claim, shutdown, 4_000)).toMatchObject({ id: first.id, status: 'lost' });
      expect(await restart(5_000)).toEqual([second.id]);
      expect(await store().jobs.get(second.id)).toMatchObject({
        status: 'cancelled',
        outcome: { reason: 'cancelled' },
      });
      expect(store().membership.counts()).toEqual({ queued: 0, running: 0 });
    });

    test('queued again it can be cancelled, and what waits for it waits on', async () => {
      const job = await submit(2);
      const waiting = await submitTo(store(), { spec: { after: job.id } });
      await claimOne(store());
      await restart(5_000);
      expect(await store().jobs.get(waiting.id)).toMatchObject({ status: 'queued', queuePosition: null });
      await store().jobs.cancelQueued(job.id, cancelled, 6_000);
      const jobs = await Promise.all(idsOf([job, waiting]).map((id) => store().jobs.get(id)));
      expect(jobs.map((one) => one?.outcome?.reason)).toEqual(['cancelled', 'dependency']);
      expect(await store().jobs.claim(9, 7_000)).toEqual([]);
    });
  });
}
