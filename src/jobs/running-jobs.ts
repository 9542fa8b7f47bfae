import { type FinishedJob, isFinished, type JobId, type JobOutcome } from './job.ts';
import type { JobServiceParts } from './job-service.ts';
import type { JobSignals } from './job-signals.ts';
import type { Claim, EndReason } from './ports.ts';
import { runJob } from './run-job.ts';

/** Between two tries to write an outcome that the store did not take: it is out of disk space or away, and the slot stays taken. */
const firstRetryMs = 100;
const maxRetryMs = 5_000;

interface RunningJob {
  readonly controller: AbortController;
  readonly agentStarted: PromiseWithResolvers<void>;
}

/** The jobs that run in this process, and how to end them. */
export interface RunningJobs {
  /** Runs a claimed job until its outcome is in the store. Never rejects. */
  run(claim: Claim): Promise<void>;
  /** Ends a job's run; the first reason wins. A job whose claim is still on its way is ended when it arrives. */
  end(id: JobId, reason: EndReason): void;
  endAll(reason: EndReason): void;
  /** False also while a job's claim is on its way from the store, which shows it as running already. */
  has(id: JobId): boolean;
  /** Resolves when the agent has started or will not start. */
  agentStarted(id: JobId): Promise<void>;
}

type Deps = JobServiceParts & { readonly signals: JobSignals };

export function createRunningJobs(deps: Deps): RunningJobs {
  const running = new Map<JobId, RunningJob>();
  /** Ends asked for between the claim in the store and its arrival here. */
  const early = new Map<JobId, EndReason>();
  let endingAll: EndReason | undefined;

  function end(id: JobId, reason: EndReason): void {
    const job = running.get(id);
    if (job === undefined) {
      if (!early.has(id)) early.set(id, reason);
      const oldest = early.keys().next();
      // More than there are places can only be ends of jobs that have just finished.
      if (early.size > deps.capacity && oldest.done !== true) early.delete(oldest.value);
    } else if (!job.controller.signal.aborted) job.controller.abort(reason);
  }

  return {
    async run(claim) {
      const id = claim.job.id;
      const job = { controller: new AbortController(), agentStarted: Promise.withResolvers<void>() };
      running.set(id, job);
      const reason = early.get(id) ?? endingAll;
      early.delete(id);
      if (reason !== undefined) job.controller.abort(reason);
      deps.signals.tell(claim.job);
      const { resolve } = job.agentStarted;
      try {
        const outcome = await runJob(claim, { ...deps, onAgentStart: resolve }, job.controller.signal);
        await record(claim, outcome, deps);
      } finally {
        resolve();
        running.delete(id);
        early.delete(id);
      }
    },
    end,
    endAll(reason) {
      endingAll = reason;
      for (const id of running.keys()) end(id, reason);
    },
    has: (id) => running.has(id),
    agentStarted: (id) => running.get(id)?.agentStarted.promise ?? Promise.resolve(),
  };
}

/** Writes the outcome, however often that takes: an ended job whose end nobody can read would be a lost one. */
async function record(
  claim: Claim,
  outcome: JobOutcome,
  { store, clock, log, signals, onFinished }: Deps,
): Promise<void> {
  const fields = { job_id: claim.job.id, status: outcome.status, reason: outcome.reason };
  for (let delayMs = firstRetryMs; ; delayMs = Math.min(maxRetryMs, delayMs * 2)) {
    try {
      const finished = await store.jobs.finish(claim, outcome, clock.now());
      // Refused: a try that seemed to fail did write it, or the job no longer belongs to this process. Its row tells.
      const job = finished ?? (await store.jobs.get(claim.job.id));
      if (job?.status === 'queued') {
        log.warn({ ...fields, attempt: job.attempt }, 'the run was lost: the job is queued again');
        return signals.tell(job);
      }
      if (job === undefined || !isFinished(job)) return log.warn(fields, 'outcome refused: the job has another owner');
      log.info({ ...fields, status: job.status, reason: job.outcome.reason, ms: durationOf(job) }, 'job ended');
      signals.tell(job);
      return onFinished(job);
    } catch (error) {
      log.error({ ...fields, err: error }, 'outcome could not be stored; trying again');
      await new Promise((resolve) => setTimeout(resolve, delayMs));
    }
  }
}

function durationOf({ startedAt, finishedAt }: FinishedJob): number {
  return (finishedAt ?? 0) - (startedAt ?? 0);
}
