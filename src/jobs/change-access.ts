import type { ChangeSummary } from './change-set.ts';
import { NoChangesError } from './errors.ts';
import { isFinal, isFinished, type JobRecord } from './job.ts';
import type { JobService } from './job-service.ts';
import type { WorkspaceManager } from './ports.ts';

/** Reads what jobs changed. A job whose changes cannot be told is never answered as one that changed nothing. */
export function createChangeAccess(
  access: Pick<JobService, 'get' | 'wait'>,
  { changesOf, patchOf }: Pick<WorkspaceManager, 'changesOf' | 'patchOf'>,
): Pick<JobService, 'get' | 'wait' | 'changes' | 'patch'> {
  /** The job with what it changed, also where it was lost and its service could not write that down. */
  async function complete(job: JobRecord): Promise<JobRecord> {
    if (!isFinished(job) || !wasCutOff(job)) return job;
    const changes = await changesOf(job.id);
    if (changes === null) return job;
    return { ...job, outcome: { ...job.outcome, changes } };
  }

  const get: JobService['get'] = async (id) => await complete(await access.get(id));

  return {
    get,
    wait: async (id, timeoutMs, signal) => await complete(await access.wait(id, timeoutMs, signal)),
    async changes(id) {
      const job = await get(id);
      const summary = summaryOf(job);
      if (summary === null) return null;
      // The job's word comes later: it also knows why nothing was pushed.
      return { ...((await changesOf(job.id)) ?? gone()), ...summary };
    },
    async patch(id) {
      const job = await get(id);
      const summary = summaryOf(job);
      if (summary === null || summary.patchBytes === 0) return null;
      return (await patchOf(job.id)) ?? gone();
    },
  };
}

/** A job that ended with its service: the next start looked at its workspace. */
function wasCutOff(job: JobRecord): boolean {
  return job.status === 'lost' && job.startedAt !== null && (job.outcome?.changes ?? null) === null;
}

/** Null if the job ended before an agent could change anything. */
function summaryOf(job: JobRecord): ChangeSummary | null {
  if (!isFinal(job.status)) throw new NoChangesError('The changes are known when the job has ended');
  if (wasCutOff(job)) throw new NoChangesError('The changes of the job were lost with the service that ran it');
  const changes = job.outcome?.changes ?? null;
  if (changes?.patchBytes === 0 && changes.truncated && changes.filesChanged === 0) {
    throw new NoChangesError(changes.problem ?? 'The changes of the job could not be taken');
  }
  return changes;
}

function gone(): never {
  throw new NoChangesError('The changes of the job are no longer kept');
}
