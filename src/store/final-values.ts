import type { JobOutcome } from '../jobs/job.ts';
import type { Encoded } from './job-rows.ts';

/** What every statement writes that ends a job. */
export const setFinal =
  'SET status = :status, finished_at = :finishedAt, reason = :reason, error = :error, report = :report, changes = :changes';

/** The values that it names, but for those of its condition. */
export function finalValues({ status, reason, error, changes }: JobOutcome, report: Encoded, finishedAt: number) {
  const told = changes === undefined || changes === null ? null : JSON.stringify(changes);
  return { status, finishedAt, reason, error, report: report.short, changes: told };
}
