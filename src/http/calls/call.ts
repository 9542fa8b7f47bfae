import type { FastifyReply, FastifyRequest } from 'fastify';
import type { JobRecord, JobSpec } from '../../jobs/job.ts';
import type { JobService } from '../../jobs/job-service.ts';
import type { Log } from '../../jobs/ports.ts';
import type { AppDeps } from '../app.ts';
import { whenClosed } from '../when-closed.ts';
import { createResolvedModels, type ResolvedModels } from './resolved-models.ts';
import { callRequest, createRuns, type Runs } from './runs.ts';

/** What the routes of /v1 have in common. */
export interface V1Deps extends AppDeps {
  readonly runs: Runs;
  readonly models: ResolvedModels;
}

/** One admitted call: a run, and the connection on which somebody waits for it. */
export interface Call {
  readonly job: JobRecord;
  readonly jobs: JobService;
  readonly runs: Runs;
  readonly models: ResolvedModels;
  readonly log: Log;
  readonly reply: FastifyReply;
  /** Aborts when the caller hangs up. */
  readonly signal: AbortSignal;
}

export function v1Deps(deps: AppDeps): V1Deps {
  const models = createResolvedModels(deps);
  return { ...deps, runs: createRuns({ ...deps, models }), models };
}

/** Admits a request as a call. Throws what refuses it. */
export async function openCall(
  { jobs, runs, models }: V1Deps,
  request: FastifyRequest,
  reply: FastifyReply,
  spec: JobSpec,
): Promise<Call> {
  const signal = whenClosed(reply.raw);
  const { job, replayed } = await runs.open(callRequest(request), spec);
  reply.header('x-job-id', job.id);
  if (replayed) reply.header('idempotent-replayed', 'true');
  return { job, jobs, runs, models, log: request.log, reply, signal };
}

/** The random part of a job's id: what is answered to a call has ids made of it, so that a replay has the same. */
export function idPart(job: JobRecord): string {
  return job.id.slice('job_'.length);
}
