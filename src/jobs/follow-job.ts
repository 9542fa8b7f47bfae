import { JobNotFoundError } from './errors.ts';
import { isFinal, isFinished, type JobRecord } from './job.ts';
import { isJobId } from './job-id.ts';
import type { JobService } from './job-service.ts';
import { type JobSignals, waitForJob } from './job-signals.ts';
import type { AgentRunner, JobEvent } from './ports.ts';
import type { RunningJobs } from './running-jobs.ts';

interface FollowDeps {
  readonly get: JobService['get'];
  readonly signals: JobSignals;
  readonly running: Pick<RunningJobs, 'agentStarted' | 'has'>;
  readonly runner: AgentRunner;
}

/** Tells a job's story to one reader: its states, in between its agent's events, at last `end`. */
export async function* followJob(deps: FollowDeps, id: string, signal: AbortSignal): AsyncGenerator<JobEvent> {
  if (!isJobId(id)) throw new JobNotFoundError();
  const reach = (until: (job: JobRecord) => boolean): Promise<JobRecord> =>
    waitForJob(deps.signals, { id, read: () => deps.get(id), until, timeoutMs: null, settleQueued: false }, signal);
  let told = false;
  let job = await deps.get(id);
  yield { type: 'status', job };
  if (job.status === 'queued') {
    job = await reach((now) => now.status !== 'queued');
    if (job.status === 'running') yield { type: 'status', job };
  }
  if (job.status === 'running' && !deps.running.has(job.id)) {
    // Its claim is on its way, or it has just ended: asked for now, its agent's events would be none.
    job = await reach((now) => isFinal(now.status) || deps.running.has(now.id));
  }
  if (job.status === 'running') {
    await unlessAborted(deps.running.agentStarted(job.id), signal);
    for await (const event of deps.runner.follow(job.id, signal)) {
      told = true;
      yield { type: 'agent', event };
    }
    signal.throwIfAborted();
    job = await reach((now) => isFinal(now.status));
  }
  if (!isFinished(job)) return;
  if (!told) for await (const event of deps.runner.replay?.(job, signal) ?? []) yield { type: 'agent', event };
  yield { type: 'end', job };
}

/** A clone may take minutes: a reader who left must not be kept that long. */
export async function unlessAborted(wait: Promise<void>, signal: AbortSignal): Promise<void> {
  const aborted = Promise.withResolvers<never>();
  const onAbort = (): void => aborted.reject(signal.reason);
  signal.throwIfAborted();
  signal.addEventListener('abort', onAbort, { once: true });
  try {
    await Promise.race([wait, aborted.promise]);
  } finally {
    signal.removeEventListener('abort', onAbort);
  }
}
