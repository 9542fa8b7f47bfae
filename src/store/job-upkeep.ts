import type { DatabaseSync } from 'node:sqlite';
import type { Operations } from './job-operations.ts';
import type { Reading } from './job-reading.ts';
import { asJobRow } from './job-rows.ts';

/** What is done by the clock and by hand to jobs that have ended. */
export function createUpkeep(db: DatabaseSync, reading: Reading) {
  const prepareEvict = (due: 0 | 1) =>
    db.prepare(
      `DELETE FROM jobs WHERE seq IN
       (SELECT seq FROM jobs WHERE finished_at < ? AND due = ${due} ORDER BY finished_at LIMIT ?) RETURNING id`,
    );
  const evict = prepareEvict(0);
  const evictDue = prepareEvict(1);
  const acknowledge = db.prepare(
    'UPDATE jobs SET due = 0, acked_at = ? WHERE id = ? AND due = 1 AND finished_at IS NOT NULL',
  );
  const remove = db.prepare('DELETE FROM jobs WHERE id = ? AND finished_at IS NOT NULL');
  const exists = db.prepare('SELECT 1 FROM jobs WHERE id = ?');
  const probe = db.prepare('UPDATE probe SET writes = writes + 1');

  return {
    evict: ({ finishedBefore, limit, dueBefore }) => {
      const rows = evict.all(finishedBefore, limit);
      return [...rows, ...evictDue.all(dueBefore, limit - rows.length)].map((row) => asJobRow(row).id);
    },
    acknowledge: ({ id, now }) => {
      acknowledge.run(now, id);
      return reading.byId(id);
    },
    remove: (id) => Number(remove.run(id).changes) > 0 || (exists.get(id) === undefined ? undefined : false),
    probe: () => {
      probe.run();
      return null;
    },
  } satisfies Partial<Operations>;
}
