import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { createJobId } from '../../src/jobs/job-id.ts';
import type { Store } from '../../src/jobs/ports.ts';
import { cancelled, claimOne, completed, idsOf, type JobOverrides, newJob, roomy, submitTo } from './job-builders.ts';
import { describeAttempts } from './job-store-attempts.ts';
import { describeDependencies } from './job-store-dependencies.ts';
import { describeIdempotency } from './job-store-idempotency.ts';
import { describeRecords } from './job-store-records.ts';
import { describeSearch } from './job-store-search.ts';
import { describeOutbox } from './outbox.ts';

export interface StoreFixture {
  readonly store: Store;
  /** Closes the store and opens another on the same data, as a restart of the service does. */
  reopen(): Promise<Store>;
  /** Closes what is open and removes the data. */
  close(): Promise<void>;
}

/** What every `Store` must do; `create` opens an empty one. */
export function describeJobStore(name: string, create: () => Promise<StoreFixture>): void {
  describe(`${name} keeps the contract of a job store`, () => {
    let fixture: StoreFixture;
    let store: Store;

    beforeEach(async () => {
      fixture = await create();
      store = fixture.store;
    });
    afterEach(() => fixture.close());

    const submit = (overrides?: JobOverrides) => submitTo(store, overrides);
    const claimNext = () => claimOne(store);

    describe('admission', () => {
      test('of 200 jobs that arrive at once exactly as many are admitted as have room', async () => {
        await submit();
        await claimNext();
        const answers = await Promise.all(
          Array.from({ length: 200 }, () => store.jobs.submit(newJob(), { maxUnfinished: 20 })),
        );
        expect(answers.filter((answer) => answer.outcome === 'admitted')).toHaveLength(19);
        expect(store.membership.counts()).toEqual({ queued: 19, running: 1 });
      });

      test('a place is free again when a job is finished or cancelled', async () => {
        const tight = { maxUnfinished: 2 };
        const refused = { outcome: 'queue_full' };
        await submit();
        const second = await submit();
        expect(await store.jobs.submit(newJob(), tight)).toEqual(refused);
        await store.jobs.finish(await claimNext(), completed(), 3_000);
        expect(await store.jobs.submit(newJob(), tight)).toMatchObject({ outcome: 'admitted' });
        expect(await store.jobs.submit(newJob(), tight)).toEqual(refused);
        await store.jobs.cancelQueued(second.id, cancelled, 3_000);
        expect(await store.jobs.submit(newJob(), tight)).toMatchObject({ outcome: 'admitted' });
      });

      test('the answer to a submit is the job as it is then read', async () => {
        await submit();
        const job = newJob({ caller: 'someone', createdAt: 1_234 });
        const admission = await store.jobs.submit(job, roomy);
        const expected = { ...job, status: 'queued', attempt: 0, queuePosition: 2, startedAt: null, outcome: null };
        expect(admission).toMatchObject({ outcome: 'admitted', job: expected });
        expect(admission).toEqual({ outcome: 'admitted', job: await store.jobs.get(job.id) });
      });

      test('the counts are up to date when the promise of a write resolves', async () => {
        await submit();
        expect(store.membership.counts()).toEqual({ queued: 1, running: 0 });
        const claim = await claimNext();
        expect(store.membership.counts()).toEqual({ queued: 0, running: 1 });
        await store.jobs.finish(claim, completed(), 3_000);
        expect(store.membership.counts()).toEqual({ queued: 0, running: 0 });
      });
    });

    describe('claim', () => {
      test('takes the oldest first, no more than there are free slots, and moves the others up', async () => {
        const jobs = await Promise.all(Array.from({ length: 5 }, () => submit()));
        const claims = await store.jobs.claim(3, 2_000);
        expect(claims.map((claim) => claim.job.id)).toEqual(idsOf(jobs.slice(0, 3)));
        expect(claims[0]).toMatchObject({
          attempt: 1,
          job: { status: 'running', startedAt: 2_000, queuePosition: null },
        });
        const last = await store.jobs.get(jobs[4]?.id ?? createJobId());
        expect(last?.queuePosition).toBe(2);
        expect(await store.jobs.claim(0, 2_000)).toEqual([]);
        expect(await store.jobs.claim(9, 2_000)).toHaveLength(2);
        expect(await store.jobs.claim(9, 2_000)).toEqual([]);
      });

      test('gives no job to two who ask at once, and never out of order', async () => {
        const jobs = await Promise.all(Array.from({ length: 100 }, () => submit()));
        const claims = (await Promise.all(Array.from({ length: 60 }, () => store.jobs.claim(2, 2_000)))).flat();
        expect(claims.map((claim) => claim.job.id)).toEqual(idsOf(jobs));
      });
    });

    describe('finish', () => {
      test('a job that is final cannot be finished again', async () => {
        await submit();
        const claim = await claimNext();
        const finished = await store.jobs.finish(claim, completed({ result: 'first' }), 3_000);
        expect(finished).toMatchObject({
          status: 'completed',
          finishedAt: 3_000,
          outcome: { report: { result: 'first' } },
        });
        expect(await store.jobs.get(claim.job.id)).toEqual(finished);
        expect(await store.jobs.finish(claim, completed({ result: 'second' }), 4_000)).toBeUndefined();
        expect(await store.jobs.get(claim.job.id)).toEqual(finished);
        expect(store.membership.counts()).toEqual({ queued: 0, running: 0 });
      });

      test('of many who finish at once one succeeds', async () => {
        await submit();
        const claim = await claimNext();
        const answers = await Promise.all(
          Array.from({ length: 20 }, (_, n) => store.jobs.finish(claim, completed({ numTurns: n }), 3_000)),
        );
        const winners = answers.filter((answer) => answer !== undefined);
        expect(winners).toEqual([await store.jobs.get(claim.job.id)]);
      });

      test('a claim of another owner or attempt writes nothing', async () => {
        await submit();
        const claim = await claimNext();
        for (const stale of [
          { ...claim, owner: 'somebody else' },
          { ...claim, attempt: claim.attempt + 1 },
        ]) {
          expect(await store.jobs.finish(stale, completed(), 3_000)).toBeUndefined();
        }
        expect(await store.jobs.get(claim.job.id)).toEqual(claim.job);
        expect(await store.jobs.finish(claim, completed(), 3_000)).toBeDefined();
      });

      test('a claim from before a restart writes nothing', async () => {
        await submit();
        const claim = await claimNext();
        store = await fixture.reopen();
        await store.membership.recover(5_000);
        expect(await store.jobs.finish(claim, completed(), 6_000)).toBeUndefined();
        expect(await store.jobs.get(claim.job.id)).toMatchObject({ status: 'lost', finishedAt: 5_000 });
      });

      test('results of 8 MB come back whole', async () => {
        await submit();
        const claim = await claimNext();
        const text = 'Zeile € 🙂\n'.repeat(800_000);
        const report = { output: [text, ''], stderr: 'odd \ud800', result: text, text, usage: { tokens: 1 } };
        const finished = await store.jobs.finish(claim, completed(report), 3_000);
        const read = await store.jobs.get(claim.job.id);
        expect(read?.outcome?.report.text === text).toBe(true);
        expect(JSON.stringify(read) === JSON.stringify(finished)).toBe(true);
      });
    });

    describe('cancel', () => {
      test('a queued job is cancelled once, and never claimed', async () => {
        const job = await submit();
        const next = await submit();
        const first = await store.jobs.cancelQueued(job.id, cancelled, 3_000);
        expect(first).toMatchObject({
          changed: true,
          job: { status: 'cancelled', finishedAt: 3_000, queuePosition: null },
        });
        expect(first?.job.outcome).toEqual(cancelled);
        expect(await store.jobs.cancelQueued(job.id, cancelled, 4_000)).toEqual({ changed: false, job: first?.job });
        expect((await store.jobs.claim(9, 5_000)).map((claim) => claim.job.id)).toEqual([next.id]);
      });

      test('a running, a final and an unknown job stay as they are', async () => {
        await submit();
        const claim = await claimNext();
        expect(await store.jobs.cancelQueued(claim.job.id, cancelled, 3_000)).toEqual({
          changed: false,
          job: claim.job,
        });
        const job = await store.jobs.finish(claim, completed({ result: 'done' }), 3_000);
        expect(await store.jobs.cancelQueued(claim.job.id, cancelled, 4_000)).toEqual({ changed: false, job });
        expect(await store.jobs.cancelQueued(createJobId(), cancelled, 4_000)).toBeUndefined();
        expect(await store.jobs.get(createJobId())).toBeUndefined();
      });
    });

    const current = {
      store: () => store,
      reopen: async () => {
        store = await fixture.reopen();
        return store;
      },
    };
    describeAttempts(current);
    describeDependencies(current);
    describeIdempotency(current);
    describeSearch(current);
    describeOutbox(current);
    describeRecords(current);
  });
}
