import type { DatabaseSync } from 'node:sqlite';
import { type FinalStatus, type JobId, type JobRecord, outcomeWithoutAgent } from '../jobs/job.ts';
import type { WebhookEvent } from '../jobs/webhooks.ts';
import { finalValues, setFinal } from './final-values.ts';
import { asJobRow, encodeReport } from './job-rows.ts';

interface DependencyDeps {
  /** Queued jobs, and those of them that wait for another one. */
  readonly tally: { queued: number; waiting: number };
  readonly read: (seq: number) => JobRecord;
  readonly announce: (job: JobRecord, event: WebhookEvent, at: number) => void;
}

const notCompleted = outcomeWithoutAgent(
  'cancelled',
  'dependency',
  'The job that this one was to start after did not complete.',
);

/** Jobs that wait for another one. To be called in the transaction of the change: no end is ever without its consequences. */
export function createDependencies(db: DatabaseSync, { tally, read, announce }: DependencyDeps) {
  const find = db.prepare(
    `SELECT seq, status FROM jobs
     WHERE id = ? AND caller = ? AND NOT (due = 0 AND finished_at IS NOT NULL AND finished_at <= ?)`,
  );
  const release = db.prepare(`UPDATE jobs SET waits_for = NULL WHERE status = 'queued' AND waits_for = ?`);
  const end = db.prepare(`UPDATE jobs ${setFinal} WHERE status = 'queued' AND waits_for = :seq RETURNING seq`);

  return {
    /** What a job of this caller that is to start after that one has to wait for; undefined where there is no such job. */
    find(id: JobId, caller: string, goneBefore: number) {
      const row = find.get(id, caller, goneBefore);
      return row === undefined ? undefined : { seq: Number(row['seq']), status: asJobRow(row).status };
    },
    /** To be called when a job has ended: lets those go that waited for it, or ends them, and all that waited for these. */
    settle(seq: number, status: FinalStatus, at: number): readonly JobRecord[] {
      if (tally.waiting === 0) return [];
      if (status === 'completed') {
        tally.waiting -= Number(release.run(seq).changes);
        return [];
      }
      const final = finalValues(notCompleted, encodeReport(notCompleted.report), at);
      const ended: JobRecord[] = [];
      for (const open = [seq]; open.length > 0; ) {
        for (const row of end.all({ ...final, seq: open.shift() ?? 0 })) {
          const job = read(Number(row['seq']));
          tally.queued -= 1;
          tally.waiting -= 1;
          announce(job, 'final', at);
          ended.push(job);
          open.push(job.seq);
        }
      }
      return ended;
    },
  };
}

export type Dependencies = ReturnType<typeof createDependencies>;
