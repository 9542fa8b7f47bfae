import type { JobOutcome } from '../jobs/job.ts';
import type { Encoded } from './job-rows.ts';

/** Puts a running job whose run was lost back to its place, if it may be started again. */
export const requeue = `SET status = 'queued', owner = NULL, started_at = NULL, earlier = json_insert(coalesce(earlier, '[]'), '$[#]',
    json_object('startedAt', started_at, 'endedAt', :at, 'reason', :reason))
  WHERE status = 'running' AND attempt < max_attempts AND cancel_requested = 0`;

/** What every statement writes that ends a job. */
export const setFinal =
  'SET status = :status, finished_at = :finishedAt, reason = :reason, error = :error, report = :report, changes = :changes';

/** The values that it names, but for those of its condition. */
export function finalValues({ status, reason, error, changes }: JobOutcome, report: Encoded, finishedAt: number) {
  const told = changes === undefined || changes === null ? null : JSON.stringify(changes);
  return { status, finishedAt, reason, error, report: report.short, changes: told };
}
