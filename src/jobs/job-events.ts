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
  | {
      readonly id: number;
      readonly type: 'status';
      readonly job: JobRecord;
      readonly status: 'queued' | 'running';
      readonly at: number;
    }
  | ({ readonly id: number } & RunEvent)
  | { readonly id: null; readonly type: 'delta'; readonly text: string }
  | { readonly id: number; readonly type: 'end'; readonly job: FinishedJob };

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
 *                                              └─ status queued, running, and so on, where the run was lost and the job starts again
 *
 * Nothing is stored for them: all `status` and the last follow from the job's row, those between from the logs of its runs.
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
  let last = 1;
  if (after < 1) yield { id: 1, type: 'status', job, status: 'queued', at: job.createdAt };
  for (let attempt = 1; ; attempt += 1) {
    if (isAhead(job, attempt)) job = await reach((now) => !isAhead(now, attempt));
    if (isAhead(job, attempt)) return;
    const at = startOf(job, attempt);
    if (at === null) break;
    last += 1;
    if (after < last) yield { id: last, type: 'status', job, status: 'running', at };
    if (!isOver(job, attempt)) await unlessAborted(deps.running.agentStarted(job.id), signal);
    last += yield* runEvents(deps.runLog, { job, attempt, idsBefore: last }, after, signal);
    signal.throwIfAborted();
    if (!isOver(job, attempt)) job = await reach((now) => isOver(now, attempt));
    const lostAt = job.earlier?.[attempt - 1]?.endedAt;
    if (lostAt === undefined) break;
    last += 1;
    if (after < last) yield { id: last, type: 'status', job, status: 'queued', at: lostAt };
  }
  if (isFinished(job) && after <= last) yield { id: last + 1, type: 'end', job };
}

/** Still to come, if the job is started that often at all. */
function isAhead(job: JobRecord, attempt: number): boolean {
  return job.status === 'queued' && job.attempt < attempt;
}

/** Null where the job ended without having been started that often. */
function startOf({ earlier, attempt: last, startedAt }: JobRecord, attempt: number): number | null {
  return earlier?.[attempt - 1]?.startedAt ?? (attempt === Math.max(1, last) ? startedAt : null);
}

function isOver({ status, earlier }: JobRecord, attempt: number): boolean {
  return isFinal(status) || (earlier ?? []).length >= attempt;
}

interface Attempt {
  readonly job: JobRecord;
  readonly attempt: number;
  readonly idsBefore: number;
}

/** The events of the run, numbered on from those before it; returns how many there are, skipped ones included. */
async function* runEvents(
  runLog: RunLog,
  { job, attempt, idsBefore }: Attempt,
  after: number,
  signal: AbortSignal,
): AsyncGenerator<NumberedEvent, number> {
  const entries = runLog.read(job, Math.max(0, after - idsBefore), signal, attempt);
  try {
    for (;;) {
      const next = await entries.next();
      if (next.done === true) return next.value;
      const entry = next.value;
      if (entry.place === null) yield { id: null, type: 'delta', text: entry.delta };
      else yield { id: idsBefore + entry.place, ...entry.event };
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
