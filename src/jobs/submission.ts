import { IdempotencyConflictError, QueueFullError, UnavailableError, UnknownDependencyError } from './errors.ts';
import type { JobRecord } from './job.ts';
import { createJobId } from './job-id.ts';
import type { JobServiceDeps } from './job-service.ts';
import type { NewJob } from './ports.ts';

interface SubmissionDeps extends JobServiceDeps {
  readonly isDraining: () => boolean;
  readonly isExpired: (job: JobRecord) => boolean;
  /** Called after each admission. */
  readonly onAdmitted: () => void;
}

export type Submission = Omit<NewJob, 'id' | 'createdAt'>;

/** Takes jobs in. Throws for what is refused; when it resolves the job is durable. */
export function createSubmission(deps: SubmissionDeps) {
  const { store, clock, runner, maxUnfinished, isDraining, isExpired, onAdmitted } = deps;
  return async function submit(wanted: Submission): Promise<{ readonly job: JobRecord; readonly replayed: boolean }> {
    if (isDraining()) throw new UnavailableError('The service is shutting down');
    const refusal = (await deps.refusal?.()) ?? null;
    if (refusal !== null) throw new UnavailableError(refusal);
    const readyId = startsAtOnce(deps) ? (deps.readyIds?.reserve(wanted.spec) ?? null) : null;
    const { caller, spec, idempotency } = wanted;
    const id = readyId ?? createJobId();
    const createdAt = clock.now();
    const job =
      idempotency === undefined ? { id, createdAt, caller, spec } : { id, createdAt, caller, spec, idempotency };
    const goneBefore = (deps.setClocks?.ages ?? clock).now() - deps.ttlMs;
    const admission = await store.jobs.submit(job, { maxUnfinished, goneBefore });
    // Not where the store does not answer: it may have written the job.
    if (readyId !== null && admission.outcome !== 'admitted') deps.readyIds?.release(readyId);
    if (admission.outcome === 'unknown_dependency') throw new UnknownDependencyError();
    if (admission.outcome === 'queue_full') throw new QueueFullError(maxUnfinished);
    if (admission.outcome === 'admitted') {
      onAdmitted();
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
  };
}

/** What is ready is worth nothing to a job that has to wait. */
function startsAtOnce({ queue, store }: SubmissionDeps): boolean {
  return queue.free() > 0 && store.membership.counts().queued === 0;
}
