import { describe, expect, test } from 'vitest';
import { UnavailableError } from '../../src/jobs/errors.ts';
import { emptyReport, type JobRecord, type JsonObject } from '../../src/jobs/job.ts';
import { createJobId } from '../../src/jobs/job-id.ts';
import type { JobQuery, Store } from '../../src/jobs/ports.ts';
import { claimOne, completed, everything, idsOf, type JobOverrides, newJob, roomy, submitTo } from './job-builders.ts';

interface Context {
  /** The one that is open now. */
  store(): Store;
  reopen(): Promise<Store>;
}

/** The part of the suite of `describeJobStore` about what is kept, for how long, and how it is read again. */
export function describeRecords(context: Context): void {
  const { store } = context;
  const submit = (overrides?: JobOverrides) => submitTo(store(), overrides);
  const claimNext = () => claimOne(store());

  describe('list', () => {
    test('pages go from the newest to the oldest, each job once, whatever arrives meanwhile', async () => {
      const jobs: JobRecord[] = [];
      for (let n = 0; n < 10; n += 1) jobs.push(await submit());
      const seen: JobRecord[] = [];
      let beforeSeq: number | null = null;
      do {
        const page = await store().jobs.list({ ...everything, limit: 4, beforeSeq });
        seen.push(...page.jobs);
        beforeSeq = page.nextBeforeSeq;
        await submit();
        await store().jobs.claim(1, 2_000);
      } while (beforeSeq !== null);
      expect(idsOf(seen)).toEqual(idsOf(jobs).toReversed());
    });

    test('a full last page says that it is the last', async () => {
      await Promise.all([submit(), submit()]);
      const page = await store().jobs.list({ ...everything, limit: 2 });
      expect(page).toMatchObject({ nextBeforeSeq: null, jobs: [{ queuePosition: 2 }, { queuePosition: 1 }] });
    });

    test('filters by status and by caller, and shows the place of each queued job', async () => {
      const [a1, b1, a2, b2] = [
        await submit({ caller: 'a' }),
        await submit({ caller: 'b' }),
        await submit({ caller: 'a' }),
        await submit({ caller: 'b' }),
      ];
      await claimNext();
      const list = async (query: Partial<JobQuery>) => (await store().jobs.list({ ...everything, ...query })).jobs;
      expect(idsOf(await list({}))).toEqual([b2.id, a2.id, b1.id, a1.id]);
      expect(idsOf(await list({ status: 'running' }))).toEqual([a1.id]);
      expect(idsOf(await list({ caller: 'a' }))).toEqual([a2.id, a1.id]);
      expect(await list({ caller: 'b', status: 'queued' })).toMatchObject([
        { id: b2.id, queuePosition: 3 },
        { id: b1.id, queuePosition: 1 },
      ]);
      expect(await list({ status: 'failed' })).toEqual([]);
      expect(await list({ caller: 'c' })).toEqual([]);
    });

    test('items hold neither output nor long prompts; the job itself holds both', async () => {
      const prompt = `${'p'.repeat(999)}🙂${'p'.repeat(5_000)}`;
      const job = await submit({ spec: { prompt } });
      const report = { output: ['{}'], stderr: 'e', result: 'r', text: 't', costUsd: 0.5, usage: { tokens: 7 } };
      await store().jobs.finish(await claimNext(), completed(report), 3_000);
      const [item] = (await store().jobs.list(everything)).jobs;
      expect(item?.spec.prompt).toBe('p'.repeat(999));
      expect(item?.outcome).toEqual(completed({ costUsd: 0.5, usage: { tokens: 7 } }));
      const whole = await store().jobs.get(job.id);
      expect(whole).toMatchObject({ spec: { prompt }, outcome: completed(report) });
    });
  });

  describe('evict', () => {
    test('removes what finished before, oldest first, up to the limit; queued and running jobs stay', async () => {
      const jobs = await Promise.all(Array.from({ length: 6 }, () => submit()));
      const claims = await store().jobs.claim(5, 2_000);
      const finishedAt = [50, 20, 40, 30];
      for (const [n, at] of finishedAt.entries()) {
        const claim = claims[n];
        if (claim !== undefined) await store().jobs.finish(claim, completed({ result: 'text' }), at);
      }
      const [at50, at20, at40, at30, running, queued] = idsOf(jobs);
      expect(await store().jobs.evict(50, 2)).toEqual(expect.arrayContaining([at20, at30]));
      expect(await store().jobs.evict(50, 2)).toEqual([at40]);
      expect(await store().jobs.evict(50, 2)).toEqual([]);
      expect(await store().jobs.get(jobs[1]?.id ?? createJobId())).toBeUndefined();
      expect(idsOf((await store().jobs.list(everything)).jobs)).toEqual([queued, running, at50]);
      expect(store().membership.counts()).toEqual({ queued: 1, running: 1 });
      const newest = await submit();
      expect(newest.seq).toBeGreaterThan(jobs[5]?.seq ?? Number.POSITIVE_INFINITY);
    });
  });

  describe('remove', () => {
    test('deletes a final job, and no other', async () => {
      const [running, queued] = [await submit(), await submit()];
      const claim = await claimNext();
      expect(await store().keeping.remove(running.id)).toBe(false);
      expect(await store().keeping.remove(queued.id)).toBe(false);
      await store().jobs.finish(claim, completed({ result: 'text' }), 3_000);
      expect(await store().keeping.remove(running.id)).toBe(true);
      expect(await store().keeping.remove(running.id)).toBeUndefined();
      expect(await store().jobs.get(running.id)).toBeUndefined();
      expect(idsOf((await store().jobs.list(everything)).jobs)).toEqual([queued.id]);
      expect(store().membership.counts()).toEqual({ queued: 1, running: 0 });
    });
  });

  describe('what only the agent and a door read', () => {
    test('is whole in the job, and in no list', async () => {
      const attachments = [{ kind: 'image', mediaType: 'image/png', data: 'AA==' }] as const;
      const spec = { outputSchema: { type: 'object' }, attachments, door: { protocol: 'x' } };
      const job = await submit({ spec });
      expect((await store().jobs.get(job.id))?.spec).toMatchObject(spec);
      const [item] = (await store().jobs.list(everything)).jobs;
      for (const key of Object.keys(spec)) expect(item?.spec).not.toHaveProperty(key);
    });
  });

  describe('a restart', () => {
    test('ends what ran and what nobody waits for any more; all else stays in order', async () => {
      const jobs = [
        await submit(),
        await submit(),
        await submit({ spec: { kind: 'chat' } }),
        await submit(),
        await submit({ spec: { kind: 'chat' } }),
      ];
      const [done, ran, chat, queued, chat2] = idsOf(jobs);
      const [first] = await store().jobs.claim(2, 2_000);
      if (first !== undefined) await store().jobs.finish(first, completed({ result: 'kept' }), 3_000);
      const before = first && (await store().jobs.get(first.job.id));
      await context.reopen();
      await store().ready();
      expect(store().membership.counts()).toEqual({ queued: 3, running: 1 });
      expect(new Set(await store().membership.recover(9_000))).toEqual(new Set([ran, chat, chat2]));
      expect(store().membership.counts()).toEqual({ queued: 1, running: 0 });

      const read = async (id = createJobId()) => store().jobs.get(id);
      expect(await read(done)).toEqual(before);
      const lost = await read(ran);
      expect(lost).toMatchObject({ status: 'lost', startedAt: 2_000, finishedAt: 9_000 });
      expect(lost?.outcome).toMatchObject({ status: 'lost', reason: 'lost', report: emptyReport });
      const gone = await read(chat);
      expect(gone).toMatchObject({ status: 'cancelled', finishedAt: 9_000, outcome: { reason: 'client_gone' } });
      for (const job of [lost, gone]) expect(job?.outcome?.error).toMatch(/\w+ .*\.$/);
      expect(await read(queued)).toMatchObject({ status: 'queued', queuePosition: 1 });
      await submit();
      expect((await claimNext()).job.id).toBe(queued);
      expect(await store().membership.recover(9_500)).toEqual([]);
    });
  });

  describe('close', () => {
    test('writes what was accepted before it, refuses what comes after, and may be called again', async () => {
      const accepted = Array.from({ length: 50 }, () => submit());
      const closing = store().close();
      await expect(store().jobs.submit(newJob(), roomy)).rejects.toBeInstanceOf(UnavailableError);
      await closing;
      await store().close();
      const jobs = await Promise.all(accepted);
      await expect(store().ready()).rejects.toBeInstanceOf(UnavailableError);
      await context.reopen();
      expect(idsOf((await store().jobs.list(everything)).jobs)).toEqual(idsOf(jobs).toReversed());
    });
  });

  describe('what a caller sends is kept exactly', () => {
    const prompts = {
      'leading signs': '--version\n/help',
      'all kinds of white space': '\ufeff \t\r\n\u2028\u2029\u00a0x\v\f ',
      'more than one plane': 'e\u0301 é 🙂 👩‍👩‍👧 \u{10ffff} \uffff \u0001',
      'a lone surrogate': 'cut \ud83d',
      'four megabytes': '0123456789abcde\n'.repeat(262_144),
      'quotes and backslashes': `'"\\ \\u0000 %s ? :id $1 --`,
    };
    test.each(Object.entries(prompts))('a prompt with %s', async (_, prompt) => {
      const job = await submit({ spec: { prompt, systemPrompt: prompt } });
      await context.reopen();
      for (const read of [await store().jobs.get(job.id), (await claimNext()).job]) {
        expect(read?.spec.prompt === prompt).toBe(true);
        expect(read?.spec.systemPrompt === prompt).toBe(true);
      }
    });

    test('metadata with odd keys and values', async () => {
      const json =
        '{"__proto__":{"a":[1,{"__proto__":null}]},"constructor":{"prototype":0},"":"\\ud800","z":1e300,"1":-0.5,"é":{}}';
      const metadata = JSON.parse(json) as JsonObject;
      const job = await submit({ spec: { metadata } });
      const expected = JSON.stringify(metadata);
      const [item] = (await store().jobs.list(everything)).jobs;
      for (const read of [await store().jobs.get(job.id), item, (await claimNext()).job]) {
        expect(JSON.stringify(read?.spec.metadata)).toBe(expected);
      }
    });
  });
}
