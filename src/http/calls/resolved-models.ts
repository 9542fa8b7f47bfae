import type { FastifyReply } from 'fastify';
import type { JobRecord } from '../../jobs/job.ts';
import type { Log } from '../../jobs/ports.ts';
import { createBoundedMap } from './bounded-map.ts';

/** What each name of a model stood for when a run last used it: aliases drift with the CLI, and not unseen. */
export interface ResolvedModels {
  /** Notes what a run's model was. */
  note(job: JobRecord): void;
  /** Puts the full name into a header of an answer, where one is known. */
  tell(reply: FastifyReply, model: string): void;
}

/** Only what is configured gets this far. */
const maxModels = 1_000;
const header = 'x-resolved-model';

export function createResolvedModels(log: Log): ResolvedModels {
  const known = createBoundedMap<string, string>(maxModels);
  return {
    note({ id, spec: { model }, outcome }) {
      const resolved = outcome?.report.resolvedModel;
      // The name is what a CLI printed: only what is harmless in a header goes into one.
      if (model === null || resolved == null || !/^[\w.:@/[\]-]{1,200}$/.test(resolved)) return;
      const before = known.get(model);
      if (before !== undefined && before !== resolved)
        log.warn({ job_id: id, model, before, now: resolved }, 'the name of a model stands for another one now');
      known.set(model, resolved);
    },
    tell(reply, model) {
      const resolved = known.get(model);
      if (resolved !== undefined) reply.header(header, resolved);
    },
  };
}
