import { describe, expect, test } from 'vitest';
import type { JobSpec, JsonObject } from '../../src/jobs/job.ts';
import type { JobQuery, Store } from '../../src/jobs/ports.ts';
import { claimOne, completed, everything, idsOf, submitTo } from './job-builders.ts';

/** Part of `describeJobStore`: finding jobs, and those whose end has to be acknowledged. */
export function describeSearch({ store }: { readonly store: () => Store }): void {
  const find = async (query: Partial<JobQuery>) => idsOf((await store().jobs.list({ ...everything, ...query })).jobs);
  const submit = (spec: Partial<JobSpec>, createdAt = 1_000) => submitTo(store(), { spec, createdAt });

  describe('search', () => {
    test('finds jobs by agent, metadata and time, alone and together, newest first', async () => {
      const a = await submit(
        { agent: 'reviewer', metadata: { ticket: 'A-1', n: 7, flag: true, deep: { x: 1 } } },
        1_000,
      );
      const b = await submit({ agent: 'writer', metadata: { ticket: 'A-2', n: '7' } }, 2_000);
      const c = await submit({ agent: 'reviewer', metadata: { ticket: 'A-1', __proto__: null } }, 3_000);
      expect(await find({ agent: 'reviewer' })).toEqual([c.id, a.id]);
      expect(await find({ agent: 'nobody' })).toEqual([]);
      expect(await find({ metadata: { name: 'ticket', value: null } })).toEqual([c.id, b.id, a.id]);
      expect(await find({ metadata: { name: 'ticket', value: 'A-1' } })).toEqual([c.id, a.id]);
      expect(await find({ metadata: { name: 'n', value: '7' } })).toEqual([b.id, a.id]);
      expect(await find({ metadata: { name: 'flag', value: 'true' } })).toEqual([a.id]);
      expect(await find({ metadata: { name: 'deep', value: null } })).toEqual([a.id]);
      expect(await find({ metadata: { name: 'deep', value: '[object Object]' } })).toEqual([]);
      expect(await find({ createdFrom: 2_000 })).toEqual([c.id, b.id]);
      expect(await find({ createdBefore: 2_000 })).toEqual([a.id]);
      expect(await find({ createdFrom: 1_500, createdBefore: 2_500 })).toEqual([b.id]);
      const ticket = { name: 'ticket', value: 'A-1' };
      expect(await find({ metadata: ticket, agent: 'reviewer', createdFrom: 2_000, status: 'queued' })).toEqual([c.id]);
      expect(await find({ metadata: ticket, status: 'running' })).toEqual([]);
      expect(await find({ metadata: ticket, caller: 'somebody else' })).toEqual([]);
    });

    test('pages stay as they are while jobs come and go', async () => {
      const jobs = [];
      for (let n = 0; n < 9; n += 1) jobs.push(await submit({ metadata: { all: 1, n }, agent: 'a' }, 1_000));
      const pages: string[][] = [];
      for (let beforeSeq: number | null = null; ; ) {
        const query = { ...everything, limit: 4, beforeSeq, metadata: { name: 'all', value: '1' }, createdFrom: 0 };
        const page = await store().jobs.list(query);
        pages.push(idsOf(page.jobs));
        await submit({ metadata: { all: 1 } });
        beforeSeq = page.nextBeforeSeq;
        if (beforeSeq === null) break;
      }
      expect(pages.flat()).toEqual(idsOf(jobs).toReversed());
      expect(pages.map(({ length }) => length)).toEqual([4, 4, 1]);
    });

    test('what is removed is no longer found', async () => {
      const job = await submit({ metadata: { a: 1 } });
      await store().jobs.finish(await claimOne(store()), completed(), 3_000);
      await store().keeping.remove(job.id);
      expect(await find({ metadata: { name: 'a', value: null } })).toEqual([]);
    });

    test('metadata of any shape is taken', async () => {
      const wide = Object.fromEntries(Array.from({ length: 500 }, (_, n) => [`key ${n}`, n]));
      const text = `{"__proto__":"x","\\ud800":"a","\\ud801":"b","":"empty","long":"${'x'.repeat(5_000)}"}`;
      const odd: unknown = JSON.parse(text);
      await submit({ metadata: wide });
      const { id } = await submit({ metadata: odd as JsonObject });
      expect(await find({ metadata: { name: '__proto__', value: 'x' } })).toEqual([id]);
      expect(await find({ metadata: { name: 'long', value: null } })).toEqual([id]);
    });
  });

  describe('follow-up', () => {
    test('a job that asked for it is due from its end until it is acknowledged, once', async () => {
      const { id, followUp } = await submit({ followUp: true });
      const plain = await submit({});
      expect([followUp, plain.followUp]).toEqual(['due', undefined]);
      expect(await find({ followedUp: false })).toEqual([]);
      expect(await store().keeping.acknowledge(id, 2_000)).toMatchObject({ status: 'queued', followUp: 'due' });
      for (let n = 0; n < 2; n += 1) await store().jobs.finish(await claimOne(store()), completed(), 3_000);
      expect(await find({ followedUp: false })).toEqual([id]);
      expect(await store().keeping.acknowledge(id, 4_000)).toMatchObject({ id, followUp: 'done' });
      expect(await store().keeping.acknowledge(id, 5_000)).toMatchObject({ id, followUp: 'done' });
      expect(await store().jobs.get(id)).toMatchObject({ followUp: 'done' });
      expect((await store().keeping.acknowledge(plain.id, 5_000))?.followUp).toBeUndefined();
      expect(await find({ followedUp: false })).toEqual([]);
      expect(await find({ followedUp: true })).toEqual([id]);
    });

    test('a due job is not evicted with the others, but within a bound', async () => {
      const due = await submit({ followUp: true });
      const acked = await submit({ followUp: true });
      const plain = await submit({});
      for (let n = 0; n < 3; n += 1) await store().jobs.finish(await claimOne(store()), completed(), 3_000);
      await store().keeping.acknowledge(acked.id, 3_500);
      expect((await store().jobs.evict(4_000, 10, 2_000)).toSorted()).toEqual([acked.id, plain.id].toSorted());
      expect(await find({})).toEqual([due.id]);
      expect(await store().jobs.evict(4_000, 10, 3_001)).toEqual([due.id]);
    });
  });
}
