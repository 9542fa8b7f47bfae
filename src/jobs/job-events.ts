import { JobNotFoundError } from './errors.ts';
import { unlessAborted } from './follow-job.ts';
import { type FinishedJob, isFinal, isFinished, type JobRecord } from './job.ts';
import { isJobId } from './job-id.ts';
import type { JobService } from './job-service.ts';
import { type JobSignals, waitForJob } from './job-signals.ts';
import type { LogSource, RawLog, RunEvent, RunLog } from './run-log.ts';
import type { RunningJobs } from './running-jobs.ts';

/** One event of a job. `id` counts from 1 without gaps, and is the same at every reading; a delta has none. */
export type NumberedEvent =
  | { readonly id: number; readonly type: 'status'; readonly job: JobRecord; readonly status: 'queued' | 'running' }
  | ({ readonly id: number } & RunEvent)
  | { readonly id: null; readonly type: 'delta'; readonly text: string }
  | { readonly id: number; readonly type: 'end'; readonly job: FinishedJob };

/** `status` queued and `status` running. */
const idsBeforeRun = 2;

interface JobEventsDeps {
  readonly get: JobService['get'];
  readonly signals: JobSignals;
  readonly running: Pick<RunningJobs, 'agentStarted'>;
  readonly runLog: RunLog;
}

/**
 * A job's events after `after`, those of the past first, then live:
 *
 *   1 status queued ─ [2 status running ─ 3.. what its run printed] ─ last: end
 *
 * Nothing is stored for them: the first two and the last follow from the job's row, those between from the log of its run.
 * Ends without `end` when the service stops before the job began: the rest comes after its restart.
 */
export async function* readJobEvents(
  deps: JobEventsDeps,
  id: string,
  after: number,
  signal: AbortSignal,
): AsyncGenerator<NumberedEvent, void> {
  if (!isJobId(id)) throw new JobNotFoundError();
  const reach = (until: (job: JobRecord) => boolean): Promise<JobRecord> =>
    waitForJob(deps.signals, { id, read: () => deps.get(id), until, timeoutMs: null, settleQueued: true }, signal);
  let job = await deps.get(id);
  if (after < 1) yield { id: 1, type: 'status', job, status: 'queued' };
  if (job.status === 'queued') job = await reach((now) => now.status !== 'queued');
  if (job.status === 'queued') return;
  let last = 1;
  if (job.startedAt !== null) {
    last = idsBeforeRun;
    if (after < last) yield { id: last, type: 'status', job, status: 'running' };
    if (job.status === 'running') await unlessAborted(deps.running.agentStarted(job.id), signal);
    last += yield* runEvents(deps.runLog, job, after, signal);
    signal.throwIfAborted();
    if (!isFinal(job.status)) job = await reach((now) => isFinal(now.status));
  }
  if (isFinished(job) && after <= last) yield { id: last + 1, type: 'end', job };
}

/** The events of the run, numbered on from the two before them; returns how many there are, skipped ones included. */
async function* runEvents(
  runLog: RunLog,
  job: JobRecord,
  after: number,
  signal: AbortSignal,
): AsyncGenerator<NumberedEvent, number> {
  const entries = runLog.read(job, Math.max(0, after - idsBeforeRun), signal);
  try {
    for (;;) {
      const next = await entries.next();
      if (next.done === true) return next.value;
      const entry = next.value;
      if (entry.place === null) yield { id: null, type: 'delta', text: entry.delta };
      else yield { id: idsBeforeRun + entry.place, ...entry.event };
    }
  } finally {
    // Also when the reader leaves in the middle: it holds open files.
    await entries.return(0);
  }
}

/** The raw output of a job's run. With a signal to follow by, not before the run has begun. Throws `JobNotFoundError`. */
export async function openJobLog(
  { get, signals, running, runLog }: JobEventsDeps,
  id: string,
  source: LogSource,
  follow: AbortSignal | null,
): Promise<RawLog> {
  let job = await get(id);
  if (follow !== null && job.status === 'queued') {
    const until = (now: JobRecord): boolean => now.status !== 'queued';
    job = await waitForJob(
      signals,
      { id: job.id, read: () => get(id), until, timeoutMs: null, settleQueued: true },
      follow,
    );
  }
  if (follow !== null && job.status === 'running') await unlessAborted(running.agentStarted(job.id), follow);
  return await runLog.open(job, source);
}
