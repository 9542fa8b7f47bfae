import type { JobRecord } from '../../jobs/job.ts';
import type { JobService } from '../../jobs/job-service.ts';
import type { Log } from '../../jobs/ports.ts';

export interface Attended {
  readonly jobs: JobService;
  readonly job: JobRecord;
  /** Aborts when the caller hangs up. */
  readonly signal: AbortSignal;
  readonly log: Log;
}

/**
 * Runs what waits for the job's end, and resolves as that does. If it rejects, or the caller hangs up first, nobody will get the
 * answer any more: the job is cancelled, once, and this rejects. The cancellation does not wait for `work` to notice.
 */
export async function whileAttended<T>({ jobs, job, signal, log }: Attended, work: () => Promise<T>): Promise<T> {
  const { promise: gone, reject } = Promise.withResolvers<never>();
  const onGone = (): void => reject(signal.reason);
  signal.addEventListener('abort', onGone);
  if (signal.aborted) onGone();
  try {
    return await Promise.race([gone, work()]);
  } catch (error) {
    try {
      await jobs.cancel(job.id, signal.aborted ? 'client_gone' : 'cancelled');
    } catch (cause) {
      log.warn({ err: cause, job_id: job.id }, 'a chat job without a caller could not be cancelled');
    }
    throw error;
  } finally {
    signal.removeEventListener('abort', onGone);
  }
}
