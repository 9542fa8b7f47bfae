import type { DatabaseSync, SQLInputValue } from 'node:sqlite';
import { type JobId, type JobOutcome, type JobRecord, outcomeWithoutAgent } from '../jobs/job.ts';
import type { JobPage, JobQuery } from '../jobs/ports.ts';
import { asJobRow, type Encoded, encodeReport, encodeSpec, type JobRow, toRecord } from './job-rows.ts';
import type { Calls, Counts, Request } from './store-protocol.ts';

/** What the only writer of the database knows by heart, so that admission counts nothing. */
export interface Tally {
  queued: number;
  running: number;
  /** Characters of JSON written and read: what bounds a batch. */
  handled: number;
}

type Operations = { readonly [K in keyof Calls]: (input: Calls[K]['input']) => Calls[K]['output'] };

/** Carries out one request inside the transaction of its caller. May throw half way: then the transaction is worth nothing. */
export type Execute = <K extends keyof Calls>(request: Request<K>) => Calls[K]['output'];

const columns =
  'j.seq, j.id, j.caller, j.status, j.attempt, j.created_at, j.started_at, j.finished_at, j.reason, j.error';
const selectWhole = `SELECT ${columns}, coalesce(s.spec, j.spec) AS spec, coalesce(r.report, j.report) AS report
  FROM jobs j LEFT JOIN long_specs s ON s.seq = j.seq LEFT JOIN long_reports r ON r.seq = j.seq`;
const setFinal = 'SET status = :status, finished_at = :finishedAt, reason = :reason, error = :error, report = :report';

/** Reads how many jobs are unfinished: once, at start. */
export function countUnfinished(db: DatabaseSync): Counts {
  const count = db.prepare('SELECT count(*) AS n FROM jobs WHERE status = ?');
  return { queued: Number(count.get('queued')?.['n']), running: Number(count.get('running')?.['n']) };
}

/** The statements behind `JobStore` and `Membership`. Every change of a status is one conditional statement. */
export function createJobOperations(db: DatabaseSync, tally: Tally, incarnation: string): Execute {
  const writing = createWriting(db, tally);
  const reading = createReading(db, tally);
  const operations: Operations = {
    ...createTransitions(db, tally, incarnation, writing, reading),
    ...createUpkeep(db, tally, incarnation),
    get: (id) => reading.byId(id),
    list: reading.list,
  };
  return (request) => operations[request.op](request.input);
}

type Writing = ReturnType<typeof createWriting>;
type Reading = ReturnType<typeof createReading>;

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

function createTransitions(db: DatabaseSync, tally: Tally, incarnation: string, writing: Writing, reading: Reading) {
  const insert = db.prepare(
    `INSERT INTO jobs (id, caller, kind, status, created_at, spec) VALUES (?, ?, ?, 'queued', ?, ?)`,
  );
  const claimOldest = db.prepare(
    `UPDATE jobs SET status = 'running', attempt = attempt + 1, owner = ?, started_at = ?
     WHERE status = 'queued' AND seq = (SELECT min(seq) FROM jobs WHERE status = 'queued') RETURNING seq`,
  );
  const finish = db.prepare(
    `UPDATE jobs ${setFinal}
     WHERE id = :id AND status = 'running' AND owner = :owner AND attempt = :attempt RETURNING seq`,
  );
  const cancel = db.prepare(`UPDATE jobs ${setFinal} WHERE id = :id AND status = 'queued' RETURNING seq`);

  return {
    submit: ({ job, maxUnfinished }) => {
      if (tally.queued + tally.running >= maxUnfinished) return null;
      const spec = encodeSpec(job.spec);
      const seq = Number(insert.run(job.id, job.caller, job.spec.kind, job.createdAt, spec.short).lastInsertRowid);
      writing.spec(seq, spec);
      tally.queued += 1;
      return { seq, queuePosition: tally.queued };
    },
    claim: ({ freeSlots, startedAt }) => {
      const claimed: JobRecord[] = [];
      while (claimed.length < freeSlots) {
        const row = claimOldest.get(incarnation, startedAt);
        if (row === undefined) break;
        claimed.push(reading.bySeq(Number(row['seq'])));
      }
      tally.queued -= claimed.length;
      tally.running += claimed.length;
      return claimed;
    },
    finish: ({ id, owner, attempt, outcome, finishedAt }) => {
      const report = encodeReport(outcome.report);
      const row = finish.get({ ...finalValues(outcome, report, finishedAt), id, owner, attempt });
      if (row === undefined) return false;
      writing.report(Number(row['seq']), report);
      tally.running -= 1;
      return true;
    },
    cancelQueued: ({ id, outcome, finishedAt }) => {
      const report = encodeReport(outcome.report);
      const row = cancel.get({ ...finalValues(outcome, report, finishedAt), id });
      if (row !== undefined) {
        writing.report(Number(row['seq']), report);
        tally.queued -= 1;
      }
      const job = reading.byId(id);
      return job && { job, changed: row !== undefined };
    },
  } satisfies Partial<Operations>;
}

function finalValues({ status, reason, error }: JobOutcome, report: Encoded, finishedAt: number) {
  return { status, finishedAt, reason, error, report: report.short };
}

function createUpkeep(db: DatabaseSync, tally: Tally, incarnation: string) {
  const loseRunning = db.prepare(
    `UPDATE jobs ${setFinal} WHERE status = 'running' AND owner <> :incarnation RETURNING id`,
  );
  const cancelChats = db.prepare(`UPDATE jobs ${setFinal} WHERE status = 'queued' AND kind = 'chat' RETURNING id`);
  const evict = db.prepare(
    `DELETE FROM jobs WHERE seq IN (SELECT seq FROM jobs WHERE finished_at < ? ORDER BY finished_at LIMIT ?) RETURNING id`,
  );
  const remove = db.prepare('DELETE FROM jobs WHERE id = ? AND finished_at IS NOT NULL RETURNING id');
  const probe = db.prepare('UPDATE probe SET writes = writes + 1');
  const lost = outcomeWithoutAgent('lost', 'lost', 'The service stopped while the job was running.');
  const gone = outcomeWithoutAgent('cancelled', 'client_gone', 'The service was restarted before the job began.');

  return {
    recover: ({ now }) => {
      const final = (outcome: JobOutcome) => finalValues(outcome, encodeReport(outcome.report), now);
      const lostRows = loseRunning.all({ ...final(lost), incarnation });
      const goneRows = cancelChats.all(final(gone));
      tally.running -= lostRows.length;
      tally.queued -= goneRows.length;
      return [...lostRows, ...goneRows].map((row) => asJobRow(row).id);
    },
    evict: ({ finishedBefore, limit }) => evict.all(finishedBefore, limit).map((row) => asJobRow(row).id),
    remove: (id) => remove.get(id) !== undefined,
    probe: () => {
      probe.run();
      return null;
    },
  } satisfies Partial<Operations>;
}

function createReading(db: DatabaseSync, tally: Tally) {
  const byId = db.prepare(`${selectWhole} WHERE j.id = ?`);
  const bySeq = db.prepare(`${selectWhole} WHERE j.seq = ?`);
  const pages = createPages(db);
  const countQueued = db.prepare(`SELECT count(*) AS n FROM jobs WHERE status = 'queued' AND seq > ? AND seq <= ?`);
  const queuedWithin = (after: number, upTo: number) => Number(countQueued.get(after, upTo)?.['n']);

  const decode = (row: JobRow, queuePosition: number | null): JobRecord => {
    tally.handled += row.spec.length + (row.report?.length ?? 0);
    return toRecord(row, queuePosition);
  };
  const one = (row: JobRow): JobRecord => decode(row, row.status === 'queued' ? queuedWithin(0, row.seq) : null);

  /** Newest first: each queued row stands as far before the last one seen as there are queued jobs between the two. */
  const many = (rows: readonly JobRow[]): readonly JobRecord[] => {
    let seen: { readonly seq: number; readonly position: number } | null = null;
    return rows.map((row) => {
      if (row.status !== 'queued') return decode(row, null);
      const position: number =
        seen === null ? queuedWithin(0, row.seq) : seen.position - queuedWithin(row.seq, seen.seq);
      seen = { seq: row.seq, position };
      return decode(row, position);
    });
  };

  return {
    byId: (id: JobId): JobRecord | undefined => {
      const row = byId.get(id);
      return row === undefined ? undefined : one(asJobRow(row));
    },
    bySeq: (seq: number): JobRecord => one(asJobRow(bySeq.get(seq) ?? {})),
    list: (query: JobQuery): JobPage => {
      const rows = pages(query).map(asJobRow);
      const jobs = many(rows.slice(0, query.limit));
      return { jobs, nextBeforeSeq: rows.length > query.limit ? (jobs.at(-1)?.seq ?? null) : null };
    },
  };
}

/** One statement per pair of filters, so that each has its index. Reads one row more than asked: is there a next page? */
function createPages(db: DatabaseSync) {
  const prepare = (filter: string) =>
    db.prepare(`SELECT ${columns}, j.spec, j.report FROM jobs j WHERE ${filter} j.seq < ? ORDER BY j.seq DESC LIMIT ?`);
  const all = prepare('');
  const ofStatus = prepare('j.status = ? AND');
  const ofCaller = prepare('j.caller = ? AND');
  const ofBoth = prepare('j.caller = ? AND j.status = ? AND');
  return ({ status, caller, limit, beforeSeq }: JobQuery) => {
    const page: readonly SQLInputValue[] = [beforeSeq ?? Number.MAX_SAFE_INTEGER, limit + 1];
    if (caller !== null && status !== null) return ofBoth.all(caller, status, ...page);
    if (caller !== null) return ofCaller.all(caller, ...page);
    return status === null ? all.all(...page) : ofStatus.all(status, ...page);
  };
}
