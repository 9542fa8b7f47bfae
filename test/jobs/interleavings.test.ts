import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { RequestRefused } from '../../src/jobs/errors.ts';
import {
  type FinishedJob,
  isFinal,
  type JobId,
  type JobRecord,
  type JobSpec,
  type JobStatus,
} from '../../src/jobs/job.ts';
import { createJobService } from '../../src/jobs/job-service.ts';
import type { Store } from '../../src/jobs/ports.ts';
import { createMemoryQueue } from '../../src/queue/memory-queue.ts';
import { createSqliteStore } from '../../src/store/sqlite-store.ts';
import { everything } from '../contracts/job-builders.ts';
import { createFakeStore, createFakeWorkspaces, silentLog, systemClock } from '../helpers/fake-ports.ts';
import { createHeldRuns, hourMs, settled, spec } from './jobs-fixture.ts';

type Step =
  | { readonly type: 'submit'; readonly kind: 'execute' | 'chat' }
  | { readonly type: 'cancel' | 'end'; readonly which: number }
  | { readonly type: 'pause' | 'drain' | 'hurry' };

const which = fc.nat({ max: 30 });
const anyStep: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.record({
      type: fc.constant('submit' as const),
      kind: fc.constantFrom('execute' as const, 'chat' as const),
    }),
  },
  { weight: 4, arbitrary: fc.record({ type: fc.constant('cancel' as const), which }) },
  { weight: 6, arbitrary: fc.record({ type: fc.constant('end' as const), which }) },
  { weight: 7, arbitrary: fc.record({ type: fc.constant('pause' as const) }) },
  { weight: 1, arbitrary: fc.record({ type: fc.constantFrom('drain' as const, 'hurry' as const) }) },
);
const plan = fc.record({
  capacity: fc.integer({ min: 1, max: 4 }),
  maxUnfinished: fc.integer({ min: 1, max: 12 }),
  steps: fc.array(anyStep, { minLength: 1, maxLength: 40, size: 'max' }),
});
type Plan = typeof plan extends fc.Arbitrary<infer T> ? T : never;

/** A store that answers after a number of turns that the seed decides: so answers overtake each other. */
function jittered(store: Store, seed: number): Store {
  let state = seed >>> 0;
  const turns = (): number => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state >>> 30;
  };
  const late =
    <Args extends readonly unknown[], Answer>(call: (...args: Args) => Promise<Answer>) =>
    async (...args: Args): Promise<Answer> => {
      const before = turns();
      for (let left = before; left > 0; left -= 1) await new Promise((resolve) => setImmediate(resolve));
      const answer = await call(...args);
      for (let left = turns(); left > 0; left -= 1) await new Promise((resolve) => setImmediate(resolve));
      return answer;
    };
  const { submit, claim, finish, cancelQueued, get } = store.jobs;
  return {
    ...store,
    jobs: {
      ...store.jobs,
      ...{ submit: late(submit), claim: late(claim), finish: late(finish) },
      ...{ cancelQueued: late(cancelQueued), get: late(get) },
    },
  };
}

/** Carries out the plan, then lets what still waits have its turn, unless the service is stopping. */
async function carryOut({ capacity, maxUnfinished, steps }: Plan, store: Store) {
  const held = createHeldRuns();
  const finished: FinishedJob[] = [];
  const workspaces = createFakeWorkspaces();
  const service = createJobService({
    ...{ store, workspaces, runner: held.runner, clock: systemClock, log: silentLog, capacity, maxUnfinished },
    queue: createMemoryQueue(capacity),
    onFinished: (job) => finished.push(job),
    ttlMs: hourMs,
  });
  const admitted: JobRecord[] = [];
  const ended: Promise<unknown>[] = [];
  const under: Promise<unknown>[] = [];
  let mostActive = 0;

  async function submit(kind: JobSpec['kind']): Promise<void> {
    const job = await service.submit(spec({ kind }), 'tester');
    admitted.push(job);
    ended.push(service.wait(job.id, null, null));
  }
  function take(next: Step): void {
    const running = held.active();
    if (next.type === 'submit') under.push(submit(next.kind).catch(refused));
    if (next.type === 'cancel' && admitted.length > 0) {
      under.push(service.cancel(admitted[next.which % admitted.length]?.id ?? '', 'cancelled'));
    }
    if (next.type === 'end') for (const id of running.slice(next.which % 4).slice(0, 1)) held.end(id);
    if (next.type === 'drain' || next.type === 'hurry') ended.push(service.drain(hourMs));
    if (next.type === 'hurry') service.hurry();
  }

  await service.begin();
  for (const next of steps) {
    take(next);
    if (next.type === 'pause') await settled();
    mostActive = Math.max(mostActive, held.active().length);
  }
  await Promise.all(under);
  let over = false;
  const all = Promise.all(ended).then(() => {
    over = true;
  });
  while (!over) {
    for (const id of held.active()) held.end(id);
    await settled();
    mostActive = Math.max(mostActive, held.active().length);
  }
  await all;
  await service.drain(hourMs);
  const { jobs: rows } = await store.jobs.list(everything);
  return { rows, admitted, finished, workspaces, mostActive, runs: held.runner.runs, stats: service.stats() };
}

function refused(error: unknown): void {
  if (!(error instanceof RequestRefused)) throw error;
}

/** What must hold whatever happened. */
function checkEnd({ capacity }: Plan, end: Awaited<ReturnType<typeof carryOut>>): void {
  const { rows, admitted, finished, workspaces, runs } = end;
  const sorted = (jobs: readonly { readonly id: JobId }[]): JobId[] => jobs.map((job) => job.id).toSorted();
  const ran = new Set(runs.map((run) => run.id));
  const seqs = runs.map((run) => rows.find((row) => row.id === run.id)?.seq ?? 0);
  const queued = rows.filter((row) => row.status === 'queued');
  expect(sorted(rows), 'a job was lost').toEqual(sorted(admitted));
  expect(ran.size, 'a job ran twice').toBe(runs.length);
  expect(seqs, 'a job was overtaken').toEqual(seqs.toSorted((a, b) => a - b));
  expect(end.mostActive).toBeLessThanOrEqual(capacity);
  expect(sorted(finished), 'a job was not counted once').toEqual(sorted(rows.filter((row) => isFinal(row.status))));
  expect(end.stats).toMatchObject({ active: 0, queued: queued.length });
  expect(workspaces.disposed.toSorted(), 'a workspace was left').toEqual(workspaces.made.toSorted());
  expect(rows.filter((row) => row.status === 'running')).toEqual([]);
  expect(rows.filter((row) => row.status === 'completed' && !ran.has(row.id))).toEqual([]);
  const unstarted = rows.filter((row) => row.startedAt === null);
  expect(unstarted.filter((row) => ran.has(row.id) || row.status === 'lost')).toEqual([]);
}

test('whatever order jobs are submitted, cancelled, ended and drained in, each ends once and the counts add up', async () => {
  const seen = new Set<JobStatus>();
  const holds = fc.asyncProperty(plan, fc.integer(), async (steps, seed) => {
    const end = await carryOut(steps, jittered(createFakeStore(), seed));
    checkEnd(steps, end);
    for (const { status } of end.rows) seen.add(status);
  });
  await fc.assert(holds, { numRuns: 200 });
  // The plans are worth something: they lead to every state that can be left.
  expect([...seen].toSorted()).toEqual(['cancelled', 'completed', 'lost', 'queued']);
});

test('and so it is with the real store', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'interleavings-'));
  let runs = 0;
  const holds = fc.asyncProperty(plan, async (steps) => {
    const store = createSqliteStore({ file: join(directory, `${runs}.db`), log: silentLog });
    try {
      await store.ready();
      checkEnd(steps, await carryOut(steps, store));
      runs += 1;
    } finally {
      await store.close();
    }
  });
  try {
    await fc.assert(holds, { numRuns: 10, endOnFailure: true });
    expect(runs).toBe(10);
  } finally {
    await rm(directory, { recursive: true });
  }
});
