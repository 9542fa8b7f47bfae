import type { z } from 'zod';
import type { ChangeSet, ChangeSummary } from '../jobs/change-set.ts';
import type { ExpectedStart } from '../jobs/expected-start.ts';
import { emptyReport, type JobContainment, type JobRecord } from '../jobs/job.ts';
import type { ChangeSetSchema, ChangesSchema } from './change-schemas.ts';
import { showExact } from './exact-json.ts';
import type { ExpectedStartSchema, JobItemSchema, JobSchema } from './schemas.ts';

/** A job as `GET /jobs/:id` shows it. */
export function jobView(job: JobRecord, expected: ExpectedStart | null = null): z.output<typeof JobSchema> {
  const { output, stderr, result } = job.outcome?.report ?? emptyReport;
  return { ...jobItem(job), output: [...output], stderr, result, expected_start: expectedStartView(expected) };
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
    changes: outcome?.changes ? changesView(outcome.changes) : null,
    containment: containmentView(report.containment),
    disk_bytes: report.diskBytes ?? null,
    attempt: job.attempt,
    max_attempts: spec.maxAttempts ?? 1,
    after: spec.after ?? null,
    retry_of: spec.retryOf ?? null,
    followed_up: job.followUp === undefined ? null : job.followUp === 'done',
  };
}

/** What a job changed, without the lists. */
function changesView(changes: ChangeSummary): z.output<typeof ChangesSchema> {
  return {
    base_commit: changes.baseCommit,
    head_commit: changes.headCommit,
    files_changed: changes.filesChanged,
    insertions: changes.insertions,
    deletions: changes.deletions,
    commits_made: changes.commitsMade,
    patch_bytes: changes.patchBytes,
    truncated: changes.truncated,
    problem: changes.problem,
    push: changes.push ?? null,
    left_out: (changes.leftOut ?? []).map(({ path, kind, reason }) => ({ path, kind, reason })),
  };
}

/** What a job changed, with the lists. */
export function changeSetView(changes: ChangeSet): z.output<typeof ChangeSetSchema> {
  return {
    ...changesView(changes),
    files: changes.files.map((file) => ({
      path: file.path,
      old_path: file.oldPath,
      change: file.change,
      old_mode: file.oldMode,
      new_mode: file.newMode,
      insertions: file.insertions,
      deletions: file.deletions,
      omitted: file.omitted,
    })),
    commits: changes.commits.map((commit) => ({
      hash: commit.hash,
      author_name: commit.authorName,
      author_email: commit.authorEmail,
      authored_at: commit.authoredAt,
      message: commit.message,
    })),
  };
}

function containmentView(containment: JobContainment | null) {
  if (containment === null) return null;
  const { level, killed, survivors, peakRssBytes, cpuSeconds } = containment;
  return { level, killed, survivors, peak_rss_bytes: peakRssBytes, cpu_seconds: cpuSeconds };
}

export function expectedStartView(expected: ExpectedStart | null): z.output<typeof ExpectedStartSchema> | null {
  if (expected === null) return null;
  const { at, earliest, latest, samples } = expected;
  return { at: time(at), earliest: time(earliest), latest: time(latest), samples };
}

/** An epoch time as the API writes it. */
export function time(epochMs: number): string {
  return new Date(epochMs).toISOString();
}
