import type { FastifyReply } from 'fastify';
import { isFinished, type JobRecord } from '../../jobs/job.ts';
import type { JobService } from '../../jobs/job-service.ts';
import type { Log } from '../../jobs/ports.ts';
import { createBoundedMap } from './bounded-map.ts';

/** What each name of a model stood for when a run last used it: aliases drift with the CLI, and not unseen. */
export interface ResolvedModels {
  /** Notes what a run's model was. The same run may be noted again. */
  note(job: JobRecord): void;
  /** Puts the full name into a header of an answer, where one is known. */
  tell(reply: FastifyReply, model: string): void;
  /** The full name; null where no run is known that used the model. Waits until the runs of earlier processes are looked at. */
  resolved(model: string): Promise<string | null>;
}

export interface ResolvedModelsDeps {
  readonly jobs: Pick<JobService, 'list'>;
  readonly log: Log;
}

/** Only what is configured gets this far. */
const maxModels = 1_000;
/** How many of the last jobs are looked at: the most that one page has. */
const recalledJobs = 200;
const header = 'x-resolved-model';

/** Begins with what the jobs of earlier processes say: a new CLI comes with a new start, as a rule. */
export function createResolvedModels({ jobs, log }: ResolvedModelsDeps): ResolvedModels {
  const known = createBoundedMap<string, string>(maxModels);
  const recalled = recall();

  function compare(model: string, before: string, now: string): void {
    if (before !== now) log.warn({ model, before, now }, 'the name of a model stands for another one now');
  }

  /** Never rejects. */
  async function recall(): Promise<void> {
    try {
      const page = await jobs.list({ status: 'completed', caller: null, limit: recalledJobs, beforeSeq: null });
      const ended = new Map<string, string>();
      // The newest come first, and the last one that is put in stays.
      for (const job of page.jobs.toReversed()) {
        const resolved = resolvedBy(job);
        if (job.spec.model !== null && resolved !== null) ended.set(job.spec.model, resolved);
      }
      for (const [model, before] of ended) {
        const now = known.get(model);
        // A run of this process may have ended meanwhile.
        if (now === undefined) known.set(model, before);
        else compare(model, before, now);
      }
    } catch (error) {
      log.warn({ err: error }, 'what the names of models stood for could not be read');
    }
  }

  return {
    note(job) {
      const { model } = job.spec;
      const now = resolvedBy(job);
      if (model === null || now === null) return;
      compare(model, known.get(model) ?? now, now);
      known.set(model, now);
    },
    tell(reply, model) {
      const resolved = known.get(model);
      if (resolved !== undefined) reply.header(header, resolved);
    },
    async resolved(model) {
      await recalled;
      return known.get(model) ?? null;
    },
  };
}

/** The name is what a CLI printed: only what is harmless in a header is taken. */
function resolvedBy(job: JobRecord): string | null {
  const resolved = isFinished(job) ? job.outcome.report.resolvedModel : null;
  return resolved !== null && /^[\w.:@/[\]-]{1,200}$/.test(resolved) ? resolved : null;
}
