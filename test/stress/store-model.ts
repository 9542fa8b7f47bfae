import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { isFinal, type JobId, type JobStatus, outcomeWithoutAgent } from '../../src/jobs/job.ts';
import type { Claim, Store } from '../../src/jobs/ports.ts';
import { createSqliteStore } from '../../src/store/sqlite-store.ts';
import { cancelled, completed, everything, newJob } from '../contracts/job-builders.ts';
import { silentLog } from '../helpers/fake-ports.ts';
import { type Command, command } from './store-commands.ts';

interface Row {
  readonly id: JobId;
  readonly kind: 'execute' | 'chat';
  readonly key: string | null;
  readonly hash: string;
  status: JobStatus;
  owner: number;
  attempts: number;
  readonly maxAttempts: number;
  /** The job that it waits for. */
  after: JobId | null;
  cancelRequested: boolean;
  due: boolean | null;
  finishedAt: number;
}

const outcomes = {
  finish: completed(),
  fail: { ...completed(), status: 'failed', reason: 'exit_nonzero' } as const,
  lose: outcomeWithoutAgent('lost', 'shutdown', 'The service was stopped'),
};

/** Runs random commands on a store and on the simplest thing that keeps the same promises; throws where the two differ. */
export async function checkStoreModel(options: { readonly runs: number; readonly length: number }): Promise<number> {
  let commands = 0;
  const property = fc.asyncProperty(
    fc.array(command, { minLength: options.length / 2, maxLength: options.length, size: 'max' }),
    async (list) => {
      commands += list.length;
      const directory = mkdtempSync(join(tmpdir(), 'store-model-'));
      const world = createWorld(join(directory, 'jobs.db'));
      try {
        for (const one of list) await world.perform(one);
        await world.compare();
      } finally {
        await world.close();
        rmSync(directory, { recursive: true });
      }
    },
  );
  await fc.assert(property, { numRuns: options.runs, endOnFailure: true });
  return commands;
}

function createWorld(file: string) {
  const open = (): Store => createSqliteStore({ file, log: silentLog });
  let store = open();
  let incarnation = 1;
  let now = 1_000;
  /** Every job that there ever was, so that commands also meet those that are gone; and the ones that are kept. */
  const ids: JobId[] = [];
  let rows: Row[] = [];
  const claims: { readonly claim: Claim; readonly incarnation: number }[] = [];
  const row = (id: JobId | undefined): Row | undefined => rows.find((one) => one.id === id);
  const unfinished = (): Row[] => rows.filter(({ status }) => !isFinal(status));
  const chosen = (which: number): JobId => ids[which % Math.max(1, ids.length)] ?? newJob().id;
  const end = (one: Row, status: JobStatus): void => {
    one.status = status;
    one.finishedAt = now;
    for (const other of rows.filter(({ after, status: its }) => its === 'queued' && after === one.id)) {
      if (status === 'completed') other.after = null;
      else end(other, 'cancelled');
    }
  };
  /** Its run was lost. */
  const lose = (one: Row): void => {
    if (one.attempts < one.maxAttempts && !one.cancelRequested) one.status = 'queued';
    else end(one, 'lost');
  };
  const ready = (): Row[] => rows.filter(({ status, after }) => status === 'queued' && after === null);

  async function perform(step: Command): Promise<void> {
    now += 1;
    switch (step.do) {
      case 'submit':
        await submit(step);
        break;
      case 'claim': {
        const expected = ready().slice(0, step.slots);
        const got = await store.jobs.claim(step.slots, now);
        assert.deepEqual(
          got.map(({ job }) => job.id),
          expected.map(({ id }) => id),
          'the oldest are claimed',
        );
        for (const one of expected) {
          Object.assign(one, { status: 'running', owner: incarnation, attempts: one.attempts + 1 });
        }
        claims.push(...got.map((claim) => ({ claim, incarnation })));
        break;
      }
      case 'finish':
      case 'fail':
      case 'lose': {
        const held = claims[step.which % Math.max(1, claims.length)];
        if (held === undefined) break;
        const one = row(held.claim.job.id);
        const holds =
          one?.status === 'running' && one.owner === held.incarnation && one.attempts === held.claim.attempt;
        const outcome = outcomes[step.do];
        if (holds && step.do === 'lose') lose(one);
        else if (holds) end(one, outcome.status);
        const got = await store.jobs.finish(held.claim, outcome, now);
        assert.equal(got?.status, holds ? one.status : undefined, 'only who holds the claim finishes');
        break;
      }
      case 'cancel': {
        const one = row(chosen(step.which));
        const isQueued = one?.status === 'queued';
        const got = await store.jobs.cancelQueued(chosen(step.which), cancelled, now);
        if (isQueued) end(one, 'cancelled');
        else if (one?.status === 'running') one.cancelRequested = true;
        assert.deepEqual(
          got && [got.changed, got.job.status],
          one && [isQueued, one.status],
          'only queued jobs are cancelled',
        );
        break;
      }
      case 'remove': {
        const one = row(chosen(step.which));
        const expected = one && isFinal(one.status);
        assert.equal(await store.keeping.remove(chosen(step.which)), expected, 'only final jobs are removed');
        if (expected === true) rows = rows.filter((other) => other !== one);
        break;
      }
      case 'acknowledge': {
        const one = row(chosen(step.which));
        if (one?.due === true && isFinal(one.status)) one.due = false;
        const got = await store.keeping.acknowledge(chosen(step.which), now);
        assert.equal(got?.followUp, one && followUpOf(one), 'a final due job is acknowledged');
        break;
      }
      case 'evict':
        await evict(step);
        break;
      case 'restart':
        await restart();
    }
    const queued = rows.filter(({ status }) => status === 'queued').length;
    assert.deepEqual(
      store.membership.counts(),
      { queued, running: unfinished().length - queued },
      'the counts are right',
    );
  }

  async function submit({
    kind,
    key,
    hash,
    followUp,
    max,
    attempts,
    after,
  }: Extract<Command, { do: 'submit' }>): Promise<void> {
    const first = key === null ? undefined : rows.find((one) => one.key === key);
    const idempotency = key === null ? {} : { idempotency: { key, hash } };
    const before = kind === 'chat' || after === null || ids.length === 0 ? null : chosen(after);
    const maxAttempts = kind === 'chat' ? 1 : attempts;
    const spec = { kind, maxAttempts, after: before, ...(followUp && { followUp }) };
    const job = newJob({ spec, createdAt: now, ...idempotency });
    const isUnknown = before !== null && row(before) === undefined;
    const isFull = unfinished().length >= max;
    const again = first?.hash === hash ? 'replayed' : 'idempotency_conflict';
    const expected =
      first !== undefined ? again : isUnknown ? 'unknown_dependency' : isFull ? 'queue_full' : 'admitted';
    const got = await store.jobs.submit(job, { maxUnfinished: max });
    assert.equal(got.outcome, expected);
    if ('job' in got) assert.equal(got.job.id, first?.id ?? job.id);
    if (expected !== 'admitted') return;
    ids.push(job.id);
    const other = before === null ? undefined : row(before);
    const own: Row = {
      ...{ id: job.id, kind, key, hash, status: 'queued', owner: 0, due: followUp ? true : null, finishedAt: 0 },
      ...{ attempts: 0, maxAttempts, cancelRequested: false, after: other?.status === 'completed' ? null : before },
    };
    rows.push(own);
    if (other !== undefined && isFinal(other.status) && other.status !== 'completed') end(own, 'cancelled');
  }

  async function evict({ age, dueAge, limit }: Extract<Command, { do: 'evict' }>): Promise<void> {
    const before = now - age;
    const dueBefore = Math.min(before, now - dueAge);
    const old = (one: Row): boolean => isFinal(one.status) && one.finishedAt < (one.due === true ? dueBefore : before);
    const got = await store.jobs.evict(before, limit, dueBefore);
    const candidates = rows.filter(old);
    assert.equal(got.length, Math.min(limit, candidates.length), 'as many are evicted as are old');
    assert.ok(
      got.every((id) => candidates.some((one) => one.id === id)),
      'only old ones are evicted',
    );
    rows = rows.filter(({ id }) => !got.includes(id));
  }

  async function restart(): Promise<void> {
    await store.close();
    store = open();
    incarnation += 1;
    const ended = await store.membership.recover(now);
    const lost = rows.filter(({ status }) => status === 'running');
    const gone = rows.filter(({ status, kind }) => status === 'queued' && kind === 'chat');
    const before = new Map(rows.map(({ id, status }) => [id, status]));
    for (const one of lost) {
      // The store ends what it will not start again as the caller had asked.
      if (one.cancelRequested && one.maxAttempts > 1) end(one, 'cancelled');
      else lose(one);
    }
    for (const one of gone) if (!isFinal(one.status)) end(one, 'cancelled');
    assert.deepEqual(
      ended.toSorted(),
      rows
        .filter(({ id, status }) => before.get(id) !== status)
        .map(({ id }) => id)
        .toSorted(),
      'recovery names what it changed',
    );
  }

  return {
    perform,
    async compare(): Promise<void> {
      for (let pass = 0; pass < 2; pass += 1) {
        const { jobs } = await store.jobs.list({ ...everything, limit: 200 });
        assert.deepEqual(
          jobs.map((job) => [job.id, job.status, job.followUp, job.finishedAt]),
          rows
            .toReversed()
            .map((one) => [one.id, one.status, followUpOf(one), isFinal(one.status) ? one.finishedAt : null]),
        );
        if (pass === 0) await restart();
      }
    },
    close: () => store.close(),
  };
}

function followUpOf({ due }: Row): 'due' | 'done' | undefined {
  return due === null ? undefined : due ? 'due' : 'done';
}
