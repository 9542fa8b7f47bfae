import { createDispatcher } from './dispatcher.ts';
import { QueueFullError, UnavailableError } from './errors.ts';
import { followJob } from './follow-job.ts';
import type { FinishedJob, JobRecord, JobSpec } from './job.ts';
import { createJobAccess } from './job-access.ts';
import { createJobId } from './job-id.ts';
import { createJobSignals } from './job-signals.ts';
import { createLifecycle } from './lifecycle.ts';
import type {
  AgentRunner,
  Clock,
  EndReason,
  JobEvent,
  JobPage,
  JobQuery,
  JobQueue,
  Log,
  Store,
  WorkspaceManager,
} from './ports.ts';
import { createRunningJobs } from './running-jobs.ts';

export interface JobServiceDeps {
  readonly store: Store;
  readonly queue: JobQueue;
  readonly workspaces: WorkspaceManager;
  readonly runner: AgentRunner;
  readonly clock: Clock;
  readonly log: Log;
  /** Told once of each job that ends while this process runs, for metrics. What it throws is logged. */
  readonly onFinished?: (job: FinishedJob) => void;
  readonly capacity: number;
  /** Queued and running jobs together. */
  readonly maxUnfinished: number;
  /** How long a final job is kept. */
  readonly ttlMs: number;
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
  /** Throws `JobNotFoundError` also for what cannot be an id and for jobs past their time to live. */
  get(id: string): Promise<JobRecord>;
  /** The job as soon as it is final, or as it is after `timeoutMs`. */
  wait(id: string, timeoutMs: number | null, signal: AbortSignal | null): Promise<JobRecord>;
  list(query: JobQuery): Promise<JobPage>;
  /** Queued: ended at once. Running: its process tree is being ended when this resolves. Final: `changed` is false. */
  cancel(id: string, reason: EndReason): Promise<{ readonly job: JobRecord; readonly changed: boolean }>;
  /** Deletes a final job and its log before their time. Throws `JobNotFoundError`, also for a job that is not final. */
  remove(id: string): Promise<void>;
  /** The job's states and its agent's events, from the beginning, ended by `end`. Rejects with the signal's reason. */
  follow(id: string, signal: AbortSignal): AsyncIterable<JobEvent>;
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
  const access = createJobAccess({ ...parts, signals, running });
  const { isDraining, ...lifecycle } = createLifecycle({
    ...deps,
    signals,
    running,
    dispatcher,
    cancel: access.cancel,
  });

  return {
    ...access,
    ...lifecycle,
    async submit(spec, caller) {
      if (isDraining()) throw new UnavailableError('The service is shutting down');
      const job = { id: createJobId(), caller, spec, createdAt: clock.now() };
      const admission = await store.jobs.submit(job, { maxUnfinished: deps.maxUnfinished });
      if (admission.outcome === 'queue_full') throw new QueueFullError(deps.maxUnfinished);
      dispatcher.notify();
      return admission.job;
    },
    follow: (id, signal) => followJob({ get: access.get, signals, running, runner }, id, signal),
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
