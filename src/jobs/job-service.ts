import type { Readable } from 'node:stream';
import { createChangeAccess } from './change-access.ts';
import type { ChangeSet } from './change-set.ts';
import { createDispatcher } from './dispatcher.ts';
import { JobNotFinalError } from './errors.ts';
import { createRunTimes, type ExpectedStart, type RunTimes } from './expected-start.ts';
import { followJob } from './follow-job.ts';
import { type FinishedJob, isFinal, isFinished, type JobRecord, type JobSpec } from './job.ts';
import { createJobAccess } from './job-access.ts';
import { type NumberedEvent, openJobLog, readJobEvents } from './job-events.ts';
import { createJobSignals, type JobSignals } from './job-signals.ts';
import { createLifecycle } from './lifecycle.ts';
import type {
  AgentRunner,
  Claim,
  Clock,
  EndReason,
  Idempotency,
  JobEvent,
  JobPage,
  JobQuery,
  JobQueue,
  Log,
  ReadyIds,
  Store,
  WorkspaceManager,
} from './ports.ts';
import type { LogSource, RawLog, RunLog } from './run-log.ts';
import { createRunningJobs } from './running-jobs.ts';
import { createSubmission } from './submission.ts';
import { createWebhookSender, type Outbox, type PostWebhook } from './webhooks.ts';

export interface JobServiceDeps {
  readonly store: Store;
  readonly queue: JobQueue;
  readonly workspaces: WorkspaceManager;
  readonly runner: AgentRunner;
  readonly runLog: RunLog;
  readonly clock: Clock;
  /** Which jobs are past their time, and which webhooks are due, whoever sets `clock` meanwhile; absent: as `clock` says. */
  readonly setClocks?: { readonly ages: Clock; readonly dues: Clock };
  readonly log: Log;
  /** Why no job can be admitted now, a sentence; null when all is well. */
  readonly refusal?: () => Promise<string | null>;
  /** Absent where nothing is made ready ahead of jobs. */
  readonly readyIds?: ReadyIds;
  /** Sends webhooks; absent where they are not configured. */
  readonly postWebhook?: PostWebhook;
  /**
   * Told once of each job that ends while this process runs, or is ended at its start because an earlier one left it, for
   * metrics. What it throws is logged.
   */
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
  /** Admits a job; when it resolves the job is durable. Throws `QueueFullError`, `UnknownDependencyError` or `UnavailableError`. */
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
  /** Submits what a final job asked for once more, as a job of its own that names the first. Throws `JobNotFinalError`. */
  retry(id: string, caller: string): Promise<JobRecord>;
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
  /** Webhooks that were given up, and sending one again. */
  readonly webhooks: { dead: Outbox['dead']; resend(id: string): Promise<boolean> };
  /** When a queued job will start; null for another, and where too few runs were measured. */
  expectedStart(job: JobRecord): ExpectedStart | null;
  /** What the job changed, in detail; null if it never had a workspace. Throws `NoChangesError` if that cannot be told. */
  changes(id: string): Promise<ChangeSet | null>;
  /** The same as a patch; null if nothing changed. Throws like `changes`. */
  patch(id: string): Promise<Readable | null>;
  /** From memory: answers whatever the store does. */
  stats(): JobStats;
}

export interface JobServiceControl extends JobService {
  /** Takes over the runs that outlived a dead process, and ends, in the store, what else it left. Call once, when the store is ready, before the first request. */
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

export function createJobService(options: JobServiceDeps): JobServiceControl {
  const { store, queue, clock, log, runner } = options;
  const signals = createJobSignals();
  const times = createRunTimes(options.capacity);
  const { deps, tell, webhooks, sender } = withWebhooks(options, times);
  const parts: JobServiceParts = { ...deps, onFinished: guarded(deps) };
  const running = createRunningJobs({ ...parts, signals });
  const run = async (claim: Claim): Promise<void> => {
    tell(claim.job);
    await running.run(claim);
  };
  const dispatcher = createDispatcher({ store, queue, clock, log, run });
  const { isExpired, ...access } = createJobAccess({ ...parts, signals, running });
  const { isDraining, ...lifecycle } = createLifecycle({
    ...parts,
    signals,
    running,
    dispatcher,
    cancel: access.cancel,
  });
  tellOfDependents(parts, signals);
  const submit = createSubmission({ ...deps, isDraining, isExpired, onAdmitted: dispatcher.notify });
  let drained: Promise<void> | undefined;
  const reading = { get: access.get, signals, running, runLog: deps.runLog };

  return {
    ...access,
    ...lifecycle,
    async begin() {
      await lifecycle.begin();
      if (!isDraining()) sender?.begin();
    },
    drain: (drainMs) => (drained ??= lifecycle.drain(drainMs).then(() => sender?.stop())),
    webhooks,
    async recover() {
      await lifecycle.recover();
      const { jobs } = await store.jobs.list({ status: 'completed', caller: null, limit: 100, beforeSeq: null });
      for (const job of jobs.toReversed()) observe(times, job);
    },
    async retry(id, caller) {
      const { id: retryOf, status, spec } = await access.get(id);
      if (!isFinal(status)) throw new JobNotFinalError();
      // What it was to start after has had its effect: this one is wanted now.
      return (await submit({ spec: { ...spec, kind: 'execute', retryOf, after: null }, caller })).job;
    },
    expectedStart({ queuePosition }) {
      return queuePosition === null
        ? null
        : times.expectedStart(queuePosition, store.membership.counts().running, clock.now());
    },
    submit: async (spec, caller) => (await submit({ spec, caller })).job,
    submitOnce: (spec, caller, idempotency) => submit({ spec, caller, idempotency }),
    ...createChangeAccess(access, deps.workspaces),
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

/** Whoever waits for a job is also told when another one has ended it. */
function tellOfDependents({ store, onFinished }: JobServiceParts, signals: JobSignals): void {
  store.onDependentEnded?.((job) => {
    signals.tell(job);
    if (isFinished(job)) onFinished(job);
  });
}

/** The same dependencies, with a look into the outbox at the end of each job that has a webhook. */
function withWebhooks(options: JobServiceDeps, times: RunTimes) {
  const { store, clock, log, postWebhook: post } = options;
  const dues = options.setClocks?.dues ?? clock;
  const sender = post === undefined ? undefined : createWebhookSender({ outbox: store.outbox, post, clock, dues, log });
  const tell = (job: JobRecord): void => {
    if (job.spec.webhooks !== undefined) sender?.notify();
  };
  const onFinished = (job: FinishedJob): void => {
    options.onFinished?.(job);
    observe(times, job);
    tell(job);
  };
  const webhooks: JobService['webhooks'] = {
    dead: (limit) => store.outbox.dead(limit),
    async resend(id) {
      const found = await store.outbox.resend(id, clock.now());
      sender?.notify();
      return found;
    },
  };
  return { deps: { ...options, onFinished }, tell, webhooks, sender };
}

/** A run that was cut short by whoever ended it says nothing of how long runs take. */
function observe(times: RunTimes, { status, startedAt, finishedAt }: JobRecord): void {
  const isRun = status === 'completed' || status === 'failed' || status === 'timeout';
  if (isRun && startedAt !== null && finishedAt !== null) times.observe(finishedAt - startedAt);
}
