import type { DatabaseSync } from 'node:sqlite';
import type { JobId, JobRecord } from '../jobs/job.ts';
import type { JobPage, JobQuery } from '../jobs/ports.ts';
import type { Tally } from './job-operations.ts';
import { createPages } from './job-pages.ts';
import { asJobRow, type JobRow, toRecord } from './job-rows.ts';

const columns =
  'j.seq, j.id, j.caller, j.status, j.attempt, j.created_at, j.started_at, j.finished_at, j.reason, j.error, j.due, j.acked_at, j.changes, j.waits_for, j.earlier';
const selectWhole = `SELECT ${columns}, coalesce(s.spec, j.spec) AS spec, coalesce(r.report, j.report) AS report
  FROM jobs j LEFT JOIN long_specs s ON s.seq = j.seq LEFT JOIN long_reports r ON r.seq = j.seq`;

export type Reading = ReturnType<typeof createReading>;

/** Has a place in the queue: one that waits for another job gets its place when that one has completed. */
function isReady({ status, waits_for: waitsFor }: JobRow): boolean {
  return status === 'queued' && waitsFor === null;
}

export function createReading(db: DatabaseSync, tally: Tally) {
  const byId = db.prepare(`${selectWhole} WHERE j.id = ?`);
  const bySeq = db.prepare(`${selectWhole} WHERE j.seq = ?`);
  const pages = createPages(db, columns);
  const countQueued = db.prepare(
    `SELECT count(*) AS n FROM jobs WHERE status = 'queued' AND waits_for IS NULL AND seq > ? AND seq <= ?`,
  );
  const queuedWithin = (after: number, upTo: number) => Number(countQueued.get(after, upTo)?.['n']);

  const decode = (row: JobRow, queuePosition: number | null): JobRecord => {
    tally.handled += row.spec.length + (row.report?.length ?? 0);
    return toRecord(row, queuePosition);
  };
  const one = (row: JobRow): JobRecord => decode(row, isReady(row) ? queuedWithin(0, row.seq) : null);

  /** Newest first: each queued row stands as far before the last one seen as there are queued jobs between the two. */
  const many = (rows: readonly JobRow[]): readonly JobRecord[] => {
    let seen: { readonly seq: number; readonly position: number } | null = null;
    return rows.map((row) => {
      if (!isReady(row)) return decode(row, null);
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
