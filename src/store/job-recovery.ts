import type { DatabaseSync } from 'node:sqlite';
import { isFinal, type JobId, type JobOutcome, outcomeWithoutAgent } from '../jobs/job.ts';
import { longestWaitsMs } from '../jobs/webhooks.ts';
import { finalValues, requeue, setFinal } from './final-values.ts';
import type { Operations, Parts, Tally } from './job-operations.ts';
import { asJobRow, encodeReport } from './job-rows.ts';

const lost = outcomeWithoutAgent('lost', 'lost', 'The service stopped while the job was running.');
const cancelled = outcomeWithoutAgent('cancelled', 'cancelled', 'The job was cancelled');
const gone = outcomeWithoutAgent('cancelled', 'client_gone', 'The service was restarted before the job began.');

/** What becomes, at a start, of jobs that an earlier process left. */
export function createRecovery(
  db: DatabaseSync,
  tally: Tally,
  incarnation: string,
  { reading, announce, dependencies }: Omit<Parts, 'writing'>,
) {
  const again = db.prepare(`UPDATE jobs ${requeue} AND owner <> :incarnation RETURNING id`);
  const cancelRunning = db.prepare(
    `UPDATE jobs ${setFinal}
     WHERE status = 'running' AND cancel_requested = 1 AND owner <> :incarnation RETURNING id`,
  );
  const loseRunning = db.prepare(
    `UPDATE jobs ${setFinal} WHERE status = 'running' AND owner <> :incarnation RETURNING id`,
  );
  const own = db.prepare(`UPDATE jobs SET owner = ? WHERE id = ? AND status = 'running' RETURNING seq`);
  const cancelChats = db.prepare(`UPDATE jobs ${setFinal} WHERE status = 'queued' AND kind = 'chat' RETURNING id`);

  const hasten = db.prepare('UPDATE outbox SET next_at = :at WHERE next_at > :at AND tries = :tries');

  return {
    recover: ({ now }) => {
      for (const [tries, waitMs] of longestWaitsMs.entries()) hasten.run({ at: Math.round(now + waitMs), tries });
      const final = (outcome: JobOutcome) => finalValues(outcome, encodeReport(outcome.report), now);
      const againRows = again.all({ at: now, reason: lost.reason, incarnation });
      const cancelledRows = cancelRunning.all({ ...final(cancelled), incarnation });
      const lostRows = loseRunning.all({ ...final(lost), incarnation });
      const goneRows = cancelChats.all(final(gone));
      tally.running -= againRows.length + cancelledRows.length + lostRows.length;
      tally.queued += againRows.length - goneRows.length;
      const ids = [...againRows, ...cancelledRows, ...lostRows, ...goneRows].map((row) => asJobRow(row).id);
      const more: JobId[] = [];
      for (const job of ids.map((id) => reading.byId(id))) {
        if (job === undefined || !isFinal(job.status)) continue;
        announce(job, 'final', now);
        more.push(...dependencies.settle(job.seq, job.status, now).map(({ id }) => id));
      }
      return [...ids, ...more];
    },
    adopt: ({ ids }) =>
      ids.flatMap((id) => {
        const row = own.get(incarnation, id);
        return row === undefined ? [] : [reading.bySeq(Number(row['seq']))];
      }),
  } satisfies Partial<Operations>;
}
