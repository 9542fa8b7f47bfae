import type { DatabaseSync, SQLInputValue, SQLOutputValue, StatementSync } from 'node:sqlite';
import type { JobQuery } from '../jobs/ports.ts';

type Row = Record<string, SQLOutputValue>;
interface Filter {
  readonly sql: string;
  readonly values: readonly SQLInputValue[];
}

/**
 * Reads pages of jobs, newest first: one row more than asked, which says whether there is a next page. One statement per
 * combination of filters, so that each is planned for its indexes.
 */
export function createPages(db: DatabaseSync, columns: string): (query: JobQuery) => readonly Row[] {
  const prepared = new Map<string, StatementSync>();
  const statement = (sql: string): StatementSync => {
    const known = prepared.get(sql) ?? db.prepare(sql);
    prepared.set(sql, known);
    return known;
  };
  const select = `SELECT ${columns}, j.spec, j.report FROM jobs j`;

  return (query) => {
    const page = [query.beforeSeq ?? Number.MAX_SAFE_INTEGER, query.limit + 1];
    const lean = leanFilters(query);
    const more = searchFilters(query);
    const where = [...lean, ...more].map(({ sql }) => `${sql} AND `).join('');
    const values = [...lean, ...more].flatMap((filter) => filter.values);
    if (more.length === 0) {
      return statement(`${select} WHERE ${where} j.seq < ? ORDER BY j.seq DESC LIMIT ?`).all(...values, ...page);
    }
    // Searched first, in indexes as far as possible; only the rows of the page are read whole.
    const [from, seq] =
      query.metadata === undefined
        ? ['jobs j', 'j.seq']
        : ['job_metadata m CROSS JOIN jobs j ON j.seq = m.seq', 'm.seq'];
    const found = `SELECT ${seq} FROM ${from} WHERE ${where} ${seq} < ? ORDER BY ${seq} DESC LIMIT ?`;
    return statement(`${select} WHERE j.seq IN (${found}) ORDER BY j.seq DESC`).all(...values, ...page);
  };
}

function leanFilters({ caller, status, createdFrom, createdBefore }: JobQuery): readonly Filter[] {
  // A span of time is the better index: the plus keeps the planner from these two, of which most rows are of another time.
  const plus = createdFrom !== undefined && createdBefore !== undefined ? '+' : '';
  return [
    ...(caller === null ? [] : [{ sql: `${plus}j.caller = ?`, values: [caller] }]),
    ...(status === null ? [] : [{ sql: `${plus}j.status = ?`, values: [status] }]),
  ];
}

function searchFilters(query: JobQuery): readonly Filter[] {
  const { agent, metadata, createdFrom, createdBefore, followedUp } = query;
  return [
    ...(metadata === undefined ? [] : [metadataFilter(metadata)]),
    ...(agent === undefined ? [] : [{ sql: 'j.agent = ?', values: [agent] }]),
    ...(createdFrom === undefined ? [] : [{ sql: 'j.created_at >= ?', values: [createdFrom] }]),
    ...(createdBefore === undefined ? [] : [{ sql: 'j.created_at < ?', values: [createdBefore] }]),
    ...(followedUp === undefined
      ? []
      : [{ sql: followedUp ? 'j.acked_at IS NOT NULL' : 'j.due = 1 AND j.finished_at IS NOT NULL', values: [] }]),
  ];
}

function metadataFilter({ name, value }: NonNullable<JobQuery['metadata']>): Filter {
  if (value === null) return { sql: 'm.name = ?', values: [name] };
  return { sql: 'm.name = ? AND m.value = ?', values: [name, value] };
}
