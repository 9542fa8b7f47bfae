import { JobNotFinalError, JobNotFoundError } from './errors.ts';
import { isFinal, isFinished, type JobRecord } from './job.ts';
import { isJobId } from './job-id.ts';
import type { JobService, JobServiceParts } from './job-service.ts';
import { type JobSignals, waitForJob } from './job-signals.ts';
import { withdrawnOutcome } from './run-job.ts';
import type { RunningJobs } from './running-jobs.ts';

interface JobAccessDeps extends JobServiceParts {
  readonly signals: JobSignals;
  readonly running: RunningJobs;
}

/** A week: whoever has not come for a result by then does not come. */
export const defaultFollowUpTtlMs = 7 * 86_400_000;

/** What callers do with jobs that are there. */
export function createJobAccess(deps: JobAccessDeps): Pick<
  JobService,
  'get' | 'wait' | 'list' | 'cancel' | 'remove' | 'acknowledge'
> & {
  isExpired(job: JobRecord): boolean;
} {
  const { store, clock, signals, running, ttlMs } = deps;
  const ages = deps.setClocks?.ages ?? clock;

  /** True from the moment that a job's time is over, also while its row still waits for removal. */
  const isExpired = (job: JobRecord): boolean => {
    const keptMs = job.followUp === 'due' ? Math.max(ttlMs, deps.followUpTtlMs ?? defaultFollowUpTtlMs) : ttlMs;
    return job.finishedAt !== null && job.finishedAt + keptMs <= ages.now();
  };

  function found(job: JobRecord | undefined): JobRecord {
    if (job === undefined || isExpired(job)) throw new JobNotFoundError();
    return job;
  }

  const get: JobService['get'] = async (id) => found(isJobId(id) ? await store.jobs.get(id) : undefined);

  return {
    get,
    isExpired,
    async remove(id) {
      const job = await get(id);
      const removed = await store.keeping.remove(job.id);
      if (removed === undefined) throw new JobNotFoundError();
      if (!removed) throw new JobNotFinalError();
      await deps.runner.forget(job.id);
    },
    async acknowledge(id) {
      if (!isFinal((await get(id)).status)) throw new JobNotFinalError();
      // Not looked at for its time: acknowledged late, it is gone by the next sweep, and the caller has it now.
      const job = isJobId(id) ? await store.keeping.acknowledge(id, clock.now()) : undefined;
      if (job === undefined) throw new JobNotFoundError();
      return job;
    },
    async wait(id, timeoutMs, signal) {
      if (!isJobId(id)) throw new JobNotFoundError();
      const until = (job: JobRecord): boolean => isFinal(job.status);
      return await waitForJob(signals, { id, read: () => get(id), until, timeoutMs, settleQueued: true }, signal);
    },
    async list(query) {
      const page = await store.jobs.list(query);
      return { ...page, jobs: page.jobs.filter((job) => !isExpired(job)) };
    },
    async cancel(id, reason) {
      const cancellation = isJobId(id)
        ? await store.jobs.cancelQueued(id, withdrawnOutcome(reason), clock.now())
        : undefined;
      const job = found(cancellation?.job);
      if (job.status === 'running') running.end(job.id, reason);
      if (cancellation?.changed !== true) return { job, changed: job.status === 'running' };
      signals.tell(job);
      if (isFinished(job)) deps.onFinished(job);
      return { job, changed: true };
    },
  };
}
