import { createDispatcher } from './dispatcher.ts';
import { IdempotencyConflictError, QueueFullError, UnavailableError } from './errors.ts';
import { followJob } from './follow-job.ts';
import type { FinishedJob, JobRecord, JobSpec } from './job.ts';
import { createJobAccess } from './job-access.ts';
import { type NumberedEvent, openJobLog, readJobEvents } from './job-events.ts';
import { createJobId } from './job-id.ts';
import { createJobSignals } from './job-signals.ts';
import { createLifecycle } from './lifecycle.ts';
import type {
  AgentRunner,
  Clock,
  EndReason,
  Idempotency,
  JobEvent,
  JobPage,
  JobQuery,
  JobQueue,
  Log,
  NewJob,
  Store,
  WorkspaceManager,
} from './ports.ts';
import type { LogSource, RawLog, RunLog } from './run-log.ts';
import { createRunningJobs } from './running-jobs.ts';

export interface JobServiceDeps {
  readonly store: Store;
  readonly queue: JobQueue;
  readonly workspaces: WorkspaceManager;
  readonly runner: AgentRunner;
  readonly runLog: RunLog;
  readonly clock: Clock;
  readonly log: Log;
  /** Told once of each job that ends while this process runs, for metrics. What it throws is logged. */
  readonly onFinished?: (job: FinishedJob) => void;
  readonly capacity: number;
  /** Queued and running jobs together. */
  readonly maxUnfinished: number;
  /** Runs outlive this process: those of an earlier one are adopted, and a drain leaves what runs to the next. */
  readonly adoptsRuns?: boolean;
  /** How long a final job is kept. */
  readonly ttlMs: number;
  /** How long at most one is kept whose follow-up is due. */
  readonly followUpTtlMs?: number;
}

/** What the parts of the service are made of. */
export type JobServiceParts = JobServiceDeps & Required<Pick<JobServiceDeps, 'onFinished'>>;

export interface JobStats {
  readonly active: number;
  readonly queued: number;
  readonly capacity: number;
  readonly draining: boolean;
}

/** The one way in for every route. Refusals are thrown (`errors.ts`); jobs end as values. */
export interface JobService {
  /** Admits a job; when it resolves the job is durable. Throws `QueueFullError` or `UnavailableError`. */
  submit(spec: JobSpec, caller: string): Promise<JobRecord>;
  /**
   * As `submit`, but a caller who repeats it with the same key and content gets the first job, for as long as that is kept.
   * Throws `IdempotencyConflictError` where the content is another one.
   */
  submitOnce(
    spec: JobSpec,
    caller: string,
    idempotency: Idempotency,
  ): Promise<{ readonly job: JobRecord; readonly replayed: boolean }>;
  /** Throws `JobNotFoundError` also for what cannot be an id and for jobs past their time to live. */
  get(id: string): Promise<JobRecord>;
  /** The job as soon as it is final, or as it is after `timeoutMs`. */
  wait(id: string, timeoutMs: number | null, signal: AbortSignal | null): Promise<JobRecord>;
  list(query: JobQuery): Promise<JobPage>;
  /** Queued: ended at once. Running: its process tree is being ended when this resolves. Final: `changed` is false. */
  cancel(id: string, reason: EndReason): Promise<{ readonly job: JobRecord; readonly changed: boolean }>;
  /** The caller has taken the job's end: it need not be kept for that any longer. Idempotent. Throws `JobNotFinalError`. */
  acknowledge(id: string): Promise<JobRecord>;
  /** Deletes a final job with all that was kept of it. Throws `JobNotFinalError` for another one. */
  remove(id: string): Promise<void>;
  /** The job's states and its agent's events, from the beginning, ended by `end`. Rejects with the signal's reason. */
  follow(id: string, signal: AbortSignal): AsyncIterable<JobEvent>;
  /** The job's events after the one with that number, which is the same at every reading; live after those of the past. */
  events(id: string, after: number, signal: AbortSignal): AsyncGenerator<NumberedEvent, void>;
  /** The raw output of the job's run; with a signal to follow by, not before the run has begun. */
  log(id: string, source: LogSource, follow: AbortSignal | null): Promise<RawLog>;
  /** From memory: answers whatever the store does. */
  stats(): JobStats;
}

export interface JobServiceControl extends JobService {
  /** Ends, in the store, what a dead process left. Call once, when the store is ready, before the first request. */
  recover(): Promise<void>;
  /** Removes what dead runs left on disk, then begins to run jobs. May be called again if it rejected. */
  begin(): Promise<void>;
  /**
   * Admits and starts nothing more, lets running jobs end for `drainMs`, then ends them as `lost` (`shutdown`). Queued jobs
   * stay for the next start; queued chat jobs are cancelled. Resolves when nothing runs. Idempotent.
   */
  drain(drainMs: number): Promise<void>;
  /** Ends the drain now: running jobs are ended without grace. */
  hurry(): void;
}

export function createJobService(deps: JobServiceDeps): JobServiceControl {
  const { store, queue, clock, log, runner } = deps;
  const signals = createJobSignals();
  const parts: JobServiceParts = { ...deps, onFinished: guarded(deps) };
  const running = createRunningJobs({ ...parts, signals });
  const dispatcher = createDispatcher({ store, queue, clock, log, run: running.run });
  const { isExpired, ...access } = createJobAccess({ ...parts, signals, running });
  const { isDraining, ...lifecycle } = createLifecycle({
    ...deps,
    signals,
    running,
    dispatcher,
    cancel: access.cancel,
  });
  const reading = { get: access.get, signals, running, runLog: deps.runLog };

  async function submit(wanted: Omit<NewJob, 'id' | 'createdAt'>): Promise<{ job: JobRecord; replayed: boolean }> {
    if (isDraining()) throw new UnavailableError('The service is shutting down');
    const job = { id: createJobId(), createdAt: clock.now(), ...wanted };
    const admission = await store.jobs.submit(job, { maxUnfinished: deps.maxUnfinished });
    if (admission.outcome === 'queue_full') throw new QueueFullError(deps.maxUnfinished);
    if (admission.outcome === 'admitted') {
      dispatcher.notify();
      return { job: admission.job, replayed: false };
    }
    if (isExpired(admission.job)) {
      // As good as gone, and its key with it.
      await store.keeping.remove(admission.job.id);
      await runner.forget(admission.job.id);
      return await submit(wanted);
    }
    if (admission.outcome === 'idempotency_conflict') throw new IdempotencyConflictError();
    return { job: admission.job, replayed: true };
  }

  return {
    ...access,
    ...lifecycle,
    submit: async (spec, caller) => (await submit({ spec, caller })).job,
    submitOnce: (spec, caller, idempotency) => submit({ spec, caller, idempotency }),
    follow: (id, signal) => followJob({ get: access.get, signals, running, runner }, id, signal),
    events: (id, after, signal) => readJobEvents(reading, id, after, signal),
    log: (id, source, follow) => openJobLog(reading, id, source, follow),
    stats() {
      const counts = store.membership.counts();
      return { active: counts.running, queued: counts.queued, capacity: deps.capacity, draining: isDraining() };
    },
  };
}

/** Counting must not keep a job from its end, nor its caller from the answer. */
function guarded({ onFinished, log }: JobServiceDeps): (job: FinishedJob) => void {
  return (job) => {
    try {
      onFinished?.(job);
    } catch (error) {
      log.error({ err: error, job_id: job.id }, 'the end of a job could not be counted');
    }
  };
}
