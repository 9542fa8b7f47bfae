import {
  type AgentReport,
  emptyReport,
  type JobId,
  type JobOutcome,
  type JobRecord,
  type JobSpec,
  outcomeWithoutAgent,
} from '../../src/jobs/job.ts';
import { createJobId } from '../../src/jobs/job-id.ts';
import type { Claim, JobQuery, NewJob, Store } from '../../src/jobs/ports.ts';

export interface JobOverrides extends Partial<Omit<NewJob, 'spec'>> {
  readonly spec?: Partial<JobSpec>;
}

/** A job as the service would submit it, with an id of its own. */
export function newJob({ spec, ...overrides }: JobOverrides = {}): NewJob {
  return {
    id: createJobId(),
    caller: 'tester',
    createdAt: 1_000,
    spec: {
      kind: 'execute',
      provider: 'claude',
      prompt: 'Say hello.',
      systemPrompt: null,
      agent: null,
      model: null,
      effort: null,
      maxBudgetUsd: 5,
      timeoutMs: 60_000,
      metadata: null,
      ...spec,
    },
    ...overrides,
  };
}

export function completed(report: Partial<AgentReport> = {}): JobOutcome {
  return { status: 'completed', reason: 'ok', error: null, report: { ...emptyReport, exitCode: 0, ...report } };
}

export const cancelled: JobOutcome = outcomeWithoutAgent('cancelled', 'cancelled', 'Cancelled by its caller.');

/** More places than any test fills. */
export const roomy = { maxUnfinished: 100_000 };

export const everything: JobQuery = { status: null, caller: null, limit: 200, beforeSeq: null };

/** Submits where there must be room. */
export async function submitTo(store: Store, overrides: JobOverrides = {}): Promise<JobRecord> {
  const admission = await store.jobs.submit(newJob(overrides), roomy);
  if (admission.outcome !== 'admitted') throw new Error('the queue is full');
  return admission.job;
}

/** Claims where something must be queued. */
export async function claimOne(store: Store): Promise<Claim> {
  const [claim] = await store.jobs.claim(1, 2_000);
  if (claim === undefined) throw new Error('nothing is queued');
  return claim;
}

export function idsOf(jobs: readonly JobRecord[]): JobId[] {
  return jobs.map((job) => job.id);
}
