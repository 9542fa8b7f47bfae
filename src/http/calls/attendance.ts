import { setTimeout as delay } from 'node:timers/promises';
import type { JobId, JobRecord } from '../../jobs/job.ts';
import type { JobService } from '../../jobs/job-service.ts';
import type { Log } from '../../jobs/ports.ts';

/** Who waits for the run of a call: it ends with the last of them. */
export interface Attendance {
  /**
   * Runs what waits for the end of a run, and resolves as that does. If it rejects, or the caller hangs up first, nobody may get
   * the answer any more: with the last one who waits, the run of a `chat` job is cancelled, once. It is not while somebody who
   * hung up may come back: `returnsWithinMs` is asked then, with how long the caller has waited, in milliseconds.
   */
  attend<T>(
    job: JobRecord,
    signal: AbortSignal,
    work: () => Promise<T>,
    returnsWithinMs?: (waitedMs: number) => number,
  ): Promise<T>;
  /** How long a caller of this run waited who hung up when its time had passed, in milliseconds; Infinity where none did. */
  patienceMs(id: JobId): number;
  /** True while who hung up may come back for this run. */
  isAwaited(id: JobId): boolean;
  /** To be called when the run has ended. Resolves when nobody who hung up may still come back for it. */
  noReturn(id: JobId): Promise<void>;
}

export interface AttendanceDeps {
  readonly jobs: JobService;
  readonly log: Log;
}

export function createAttendance({ jobs, log }: AttendanceDeps): Attendance {
  const attendants = new Map<JobId, number>();
  /** Runs that the last one who waited for them may come back to. */
  const awaited = new Map<JobId, Promise<void>>();
  /** After how long who may come back hung up. */
  const patience = new Map<JobId, number>();

  /** Counts one less who waits; true for the last one. At once: two may go at the same time. */
  function depart(id: JobId): boolean {
    const left = (attendants.get(id) ?? 1) - 1;
    if (left > 0) attendants.set(id, left);
    else attendants.delete(id);
    return left === 0;
  }

  async function cancel(job: JobRecord, reason: 'client_gone' | 'cancelled'): Promise<void> {
    try {
      await jobs.cancel(job.id, reason);
    } catch (cause) {
      log.warn({ err: cause, job_id: job.id }, 'a chat job without a caller could not be cancelled');
    }
  }

  async function awaitReturn(job: JobRecord, withinMs: number): Promise<void> {
    const time = delay(withinMs, undefined, { ref: false });
    awaited.set(job.id, time);
    await time;
    if (awaited.get(job.id) === time) awaited.delete(job.id);
    if (!attendants.has(job.id) && !awaited.has(job.id)) await cancel(job, 'client_gone');
  }

  const attend: Attendance['attend'] = async (job, signal, work, returnsWithinMs = () => 0) => {
    const { promise: gone, reject } = Promise.withResolvers<never>();
    const onGone = (): void => reject(signal.reason);
    const begun = performance.now();
    attendants.set(job.id, (attendants.get(job.id) ?? 0) + 1);
    signal.addEventListener('abort', onGone);
    if (signal.aborted) onGone();
    try {
      // The cancellation does not wait for `work` to notice.
      const result = await Promise.race([gone, work()]);
      depart(job.id);
      return result;
    } catch (error) {
      const isLast = depart(job.id) && job.spec.kind === 'chat';
      const waitedMs = performance.now() - begun;
      const withinMs = signal.aborted ? returnsWithinMs(waitedMs) : 0;
      if (isLast && withinMs > 0) {
        patience.set(job.id, waitedMs);
        void awaitReturn(job, withinMs);
      } else if (isLast) await cancel(job, signal.aborted ? 'client_gone' : 'cancelled');
      throw error;
    } finally {
      signal.removeEventListener('abort', onGone);
    }
  };

  return {
    attend,
    patienceMs: (id) => patience.get(id) ?? Number.POSITIVE_INFINITY,
    isAwaited: (id) => awaited.has(id),
    async noReturn(id) {
      for (let time = awaited.get(id); time !== undefined; time = awaited.get(id)) await time;
      patience.delete(id);
    },
  };
}
