import type { z } from 'zod';
import { emptyReport, type JobContainment, type JobRecord } from '../jobs/job.ts';
import { showExact } from './exact-json.ts';
import type { JobItemSchema, JobSchema } from './schemas.ts';

/** A job as `GET /jobs/:id` shows it. */
export function jobView(job: JobRecord): z.output<typeof JobSchema> {
  const { output, stderr, result } = job.outcome?.report ?? emptyReport;
  return { ...jobItem(job), output: [...output], stderr, result };
}

/** A job as a list shows it: without its output. Fields that do not apply yet are null, not absent. */
export function jobItem(job: JobRecord): z.output<typeof JobItemSchema> {
  const { spec, outcome } = job;
  const report = outcome?.report ?? emptyReport;
  return {
    job_id: job.id,
    status: job.status,
    prompt: spec.prompt,
    agent: spec.agent,
    model: spec.model,
    provider: spec.provider,
    metadata: spec.metadata && showExact(spec.metadata),
    created_at: time(job.createdAt),
    started_at: job.startedAt === null ? null : time(job.startedAt),
    finished_at: job.finishedAt === null ? null : time(job.finishedAt),
    queue_position: job.queuePosition,
    exit_code: report.exitCode,
    error: outcome?.error ?? null,
    reason: outcome?.reason ?? null,
    usage: report.usage,
    cost_usd: report.costUsd,
    num_turns: report.numTurns,
    session_id: report.sessionId,
    changes: null,
    containment: containmentView(report.containment),
  };
}

function containmentView(containment: JobContainment | null) {
  if (containment === null) return null;
  const { level, killed, survivors, peakRssBytes, cpuSeconds } = containment;
  return { level, killed, survivors, peak_rss_bytes: peakRssBytes, cpu_seconds: cpuSeconds };
}

function time(epochMs: number): string {
  return new Date(epochMs).toISOString();
}
