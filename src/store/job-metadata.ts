import type { DatabaseSync } from 'node:sqlite';
import type { JsonObject } from '../jobs/job.ts';

/** Longer values, in UTF-16 units, are found by their name alone. */
const maxValueLength = 256;
/** What one job may cost the index; the fields after these are not found. */
const maxFields = 64;

/** Makes the first level of metadata searchable. To be called in the transaction of the submit. */
export function createMetadataIndex(db: DatabaseSync): (seq: number, metadata: JsonObject | null) => void {
  const insert = db.prepare('INSERT INTO job_metadata (name, value, seq) VALUES (?, ?, ?)');
  return (seq, metadata) => {
    if (metadata === null) return;
    // Well-formed, for SQLite's text is UTF-8: two broken names may then be one.
    const fields = new Map(Object.entries(metadata).map(([name, value]) => [name.toWellFormed(), value]));
    for (const [name, value] of [...fields].slice(0, maxFields)) insert.run(name, searchable(value), seq);
  };
}

function searchable(value: JsonObject[string] | undefined): string | null {
  if (value === undefined || value === null || typeof value === 'object') return null;
  const text = String(value).toWellFormed();
  return text.length > maxValueLength ? null : text;
}
