import type { DatabaseSync } from 'node:sqlite';
import { isFinal, type JobRecord } from '../jobs/job.ts';
import { createDependencies, type Dependencies } from './dependencies.ts';
import { finalValues, requeue, setFinal } from './final-values.ts';
import { createIdempotencyKeys } from './idempotency.ts';
import { createMetadataIndex } from './job-metadata.ts';
import { createReading, type Reading } from './job-reading.ts';
import { createRecovery } from './job-recovery.ts';
import { type Encoded, encodeReport, encodeSpec } from './job-rows.ts';
import { createUpkeep } from './job-upkeep.ts';
import { createAnnouncer, createOutboxOperations } from './outbox-operations.ts';
import type { Calls, Counts, Request } from './store-protocol.ts';

/** What the only writer of the database knows by heart, so that admission counts nothing. */
export interface Tally {
  queued: number;
  running: number;
  /** Of the queued ones those that wait for another job. */
  waiting: number;
  /** Jobs that ended in this batch because another one did. */
  ended: JobRecord[];
  /**
   * Messages under way, and until when. Not in the file: nobody else has that open, a lease ends with its process, and a
   * message goes out one fsync earlier. Replaced, never changed, so that a batch that fails can be undone.
   */
  leases: ReadonlyMap<string, number>;
  /** Characters of JSON written and read: what bounds a batch. */
  handled: number;
}

export type Operations = { readonly [K in keyof Calls]: (input: Calls[K]['input']) => Calls[K]['output'] };

/** Carries out one request inside the transaction of its caller. May throw half way: then the transaction is worth nothing. */
export type Execute = <K extends keyof Calls>(request: Request<K>) => Calls[K]['output'];

/** Reads how many jobs are unfinished: once, at start. */
export function countUnfinished(db: DatabaseSync): Counts & Pick<Tally, 'waiting'> {
  const count = db.prepare('SELECT count(*) AS n FROM jobs WHERE status = ?');
  const waiting = db.prepare(`SELECT count(*) AS n FROM jobs WHERE status = 'queued' AND waits_for IS NOT NULL`);
  return {
    queued: Number(count.get('queued')?.['n']),
    running: Number(count.get('running')?.['n']),
    waiting: Number(waiting.get()?.['n']),
  };
}

/** The statements behind `JobStore` and `Membership`. Every change of a status is one conditional statement. */
export function createJobOperations(db: DatabaseSync, tally: Tally, incarnation: string): Execute {
  const writing = createWriting(db, tally);
  const reading = createReading(db, tally);
  const announce = createAnnouncer(db);
  const dependencies = createDependencies(db, { tally, read: reading.bySeq, announce });
  const operations: Operations = {
    ...createAdmission(db, tally, writing, reading, dependencies),
    ...createTransitions(db, tally, incarnation, { writing, reading, announce, dependencies }),
    ...createRecovery(db, tally, incarnation, { reading, announce, dependencies }),
    ...createUpkeep(db, reading),
    ...createOutboxOperations(db, tally),
    get: (id) => reading.byId(id),
    list: reading.list,
  };
  return (request) => operations[request.op](request.input);
}

type Writing = ReturnType<typeof createWriting>;
type Announce = ReturnType<typeof createAnnouncer>;
/** What changes of a status are made of. */
export interface Parts {
  readonly writing: Writing;
  readonly reading: Reading;
  readonly announce: Announce;
  readonly dependencies: Dependencies;
}

function createWriting(db: DatabaseSync, tally: Tally) {
  const longSpec = db.prepare('INSERT INTO long_specs (seq, spec) VALUES (?, ?)');
  const longReport = db.prepare('INSERT INTO long_reports (seq, report) VALUES (?, ?)');
  const keep = (statement: typeof longSpec, seq: number, { short, long }: Encoded): void => {
    tally.handled += short.length + (long?.length ?? 0);
    if (long !== null) statement.run(seq, long);
  };
  return {
    spec: (seq: number, encoded: Encoded) => keep(longSpec, seq, encoded),
    report: (seq: number, encoded: Encoded) => keep(longReport, seq, encoded),
  };
}

function createAdmission(
  db: DatabaseSync,
  tally: Tally,
  writing: Writing,
  reading: Reading,
  dependencies: Dependencies,
) {
  const keys = createIdempotencyKeys(db);
  const indexMetadata = createMetadataIndex(db);
  const insert = db.prepare(
    `INSERT INTO jobs (id, caller, kind, status, created_at, due, spec, waits_for, max_attempts)
     VALUES (?, ?, ?, 'queued', ?, ?, ?, ?, ?)`,
  );

  return {
    submit: ({ job, maxUnfinished, goneBefore }) => {
      const first = keys.first(job.caller, job.idempotency);
      if (first !== null) {
        return { outcome: first.isSame ? 'replayed' : 'idempotency_conflict', job: reading.bySeq(first.seq) };
      }
      const after = job.after ?? null;
      const before = after === null ? undefined : dependencies.find(after, job.caller, goneBefore);
      if (after !== null && before === undefined) return { outcome: 'unknown_dependency' };
      if (tally.queued + tally.running >= maxUnfinished) return null;
      const waitsFor = before === undefined || before.status === 'completed' ? null : before.seq;
      const spec = 'encoded' in job.spec ? job.spec.encoded : encodeSpec(job.spec.whole);
      const due = job.followUp === true ? 1 : 0;
      const row = insert.run(
        job.id,
        job.caller,
        job.kind,
        job.createdAt,
        due,
        spec.short,
        waitsFor,
        job.maxAttempts ?? 1,
      );
      const seq = Number(row.lastInsertRowid);
      indexMetadata(seq, job.metadata);
      writing.spec(seq, spec);
      keys.keep(job.caller, job.idempotency, seq);
      tally.queued += 1;
      if (before === undefined || waitsFor === null) return { seq, queuePosition: tally.queued - tally.waiting };
      tally.waiting += 1;
      if (!isFinal(before.status)) return { seq, queuePosition: null };
      tally.ended.push(...dependencies.settle(before.seq, before.status, job.createdAt));
      return { outcome: 'admitted', job: reading.bySeq(seq) };
    },
  } satisfies Partial<Operations>;
}

function transitionStatements(db: DatabaseSync) {
  const claimOldest = db.prepare(
    `UPDATE jobs SET status = 'running', attempt = attempt + 1, owner = ?, started_at = ?
     WHERE seq = (SELECT seq FROM jobs WHERE status = 'queued' AND waits_for IS NULL ORDER BY seq LIMIT 1) RETURNING seq`,
  );
  const finish = db.prepare(
    `UPDATE jobs ${setFinal}
     WHERE id = :id AND status = 'running' AND owner = :owner AND attempt = :attempt
     RETURNING seq, json_extract(spec, '$.webhooks') IS NOT NULL AS has_webhooks`,
  );
  const again = db.prepare(
    `UPDATE jobs ${requeue} AND id = :id AND owner = :owner AND attempt = :attempt RETURNING seq`,
  );
  const cancelRunning = db.prepare(
    `UPDATE jobs SET cancel_requested = 1 WHERE id = ? AND status = 'running' AND max_attempts > 1`,
  );
  const cancel = db.prepare(`UPDATE jobs ${setFinal} WHERE id = :id AND status = 'queued' RETURNING seq, waits_for`);
  return { claimOldest, finish, again, cancelRunning, cancel };
}

function createTransitions(
  db: DatabaseSync,
  tally: Tally,
  incarnation: string,
  { writing, reading, announce, dependencies }: Parts,
) {
  const { claimOldest, finish, again, cancelRunning, cancel } = transitionStatements(db);

  return {
    claim: ({ freeSlots, startedAt }) => {
      const claimed: JobRecord[] = [];
      while (claimed.length < freeSlots) {
        const row = claimOldest.get(incarnation, startedAt);
        if (row === undefined) break;
        const job = reading.bySeq(Number(row['seq']));
        announce(job, 'running', startedAt);
        claimed.push(job);
      }
      tally.queued -= claimed.length;
      tally.running += claimed.length;
      return claimed;
    },
    finish: ({ id, owner, attempt, outcome, finishedAt }) => {
      if (outcome.status === 'lost' && again.get({ id, owner, attempt, at: finishedAt, reason: outcome.reason })) {
        tally.running -= 1;
        tally.queued += 1;
        return 'requeued';
      }
      const report = encodeReport(outcome.report);
      const row = finish.get({ ...finalValues(outcome, report, finishedAt), id, owner, attempt });
      if (row === undefined) return false;
      writing.report(Number(row['seq']), report);
      tally.running -= 1;
      if (row['has_webhooks'] === 1) announce(reading.bySeq(Number(row['seq'])), 'final', finishedAt);
      tally.ended.push(...dependencies.settle(Number(row['seq']), outcome.status, finishedAt));
      return true;
    },
    cancelQueued: ({ id, outcome, finishedAt }) => {
      const report = encodeReport(outcome.report);
      const row = cancel.get({ ...finalValues(outcome, report, finishedAt), id });
      if (row !== undefined) {
        writing.report(Number(row['seq']), report);
        tally.queued -= 1;
        if (row['waits_for'] !== null) tally.waiting -= 1;
      } else cancelRunning.run(id);
      const job = reading.byId(id);
      if (job !== undefined && row !== undefined) {
        announce(job, 'final', finishedAt);
        tally.ended.push(...dependencies.settle(job.seq, outcome.status, finishedAt));
      }
      return job && { job, changed: row !== undefined };
    },
  } satisfies Partial<Operations>;
}
