import { NoChangesError } from './errors.ts';
import { isFinal, type JobRecord } from './job.ts';
import type { JobService } from './job-service.ts';
import type { WorkspaceManager } from './ports.ts';

/** Reads what jobs changed. A job whose changes cannot be told is never answered as one that changed nothing. */
export function createChangeAccess(
  get: JobService['get'],
  { changesOf, patchOf }: Pick<WorkspaceManager, 'changesOf' | 'patchOf'>,
): Pick<JobService, 'changes' | 'patch'> {
  return {
    async changes(id) {
      const job = await get(id);
      if (!hasChanges(job)) return null;
      return (await changesOf(job.id)) ?? gone();
    },
    async patch(id) {
      const job = await get(id);
      if (!hasChanges(job) || job.outcome?.changes?.patchBytes === 0) return null;
      return (await patchOf(job.id)) ?? gone();
    },
  };
}

/** False if the job ended before an agent could change anything. */
function hasChanges(job: JobRecord): boolean {
  if (!isFinal(job.status)) throw new NoChangesError('The changes are known when the job has ended');
  const changes = job.outcome?.changes ?? null;
  if (changes === null && job.status === 'lost' && job.startedAt !== null) {
    throw new NoChangesError('The changes of the job were lost with the service that ran it');
  }
  if (changes?.patchBytes === 0 && changes.truncated && changes.filesChanged === 0) {
    throw new NoChangesError(changes.problem ?? 'The changes of the job could not be taken');
  }
  return changes !== null;
}

function gone(): never {
  throw new NoChangesError('The changes of the job are no longer kept');
}
