import { createHash } from 'node:crypto';
import type { FastifyRequest } from 'fastify';
import { isFinished, type JobId, type JobReason, type JobRecord, type JobSpec } from '../../jobs/job.ts';
import type { JobService } from '../../jobs/job-service.ts';
import type { Clock, Log } from '../../jobs/ports.ts';
import type { Metrics } from '../../telemetry/metrics.ts';
import { badRequest, OpenAiError } from '../openai/errors.ts';
import { runError } from '../openai/run-error.ts';
import { defaultCaller } from '../routes/execute.ts';
import { type Attendance, createAttendance } from './attendance.ts';
import { createBoundedMap } from './bounded-map.ts';
import type { ResolvedModels } from './resolved-models.ts';

/**
 * The runs behind the calls of /v1. Clients repeat what failed, and a run costs money: a request that is a repetition gets the
 * run that there is already. What is remembered here is lost with the process; the runs themselves are not.
 */
export interface Runs extends Pick<Attendance, 'attend' | 'patienceMs'> {
  /** The run that answers this request: a new one, or the one that an earlier request began. Throws what refuses it. */
  open(request: CallRequest, spec: JobSpec): Promise<Run>;
}

export interface Run {
  readonly job: JobRecord;
  /** True where an earlier request with the same `Idempotency-Key` began it. */
  readonly replayed: boolean;
}

/** What tells of a request whether it is a repetition. */
export interface CallRequest {
  /** The same for the same token, path and body. */
  readonly digest: string;
  /** `Idempotency-Key`, made the token's own; null without the header. */
  readonly key: string | null;
  /** The client says that it tries again. */
  readonly isRetry: boolean;
  /** The client wants a new run whatever became of an equal one: `cache-control: no-cache`. */
  readonly fresh: boolean;
}

/** Longer than the pauses between two tries that were seen; whoever waits longer means a new try. */
const memoMs = 70_000;
/** All tries of one call: LangChain's seven take 64 to 127 s. Not longer, as the reason of the failure may have gone. */
const maxMemoMs = 180_000;
/** Ends that say nothing of how a new run would fare. */
const interrupted: ReadonlySet<JobReason> = new Set(['client_gone', 'shutdown', 'lost']);
/** Entries are some hundred bytes each. */
const maxRemembered = 10_000;

export interface RunsDeps {
  readonly jobs: JobService;
  readonly metrics: Metrics;
  readonly clock: Clock;
  readonly log: Log;
  readonly models: ResolvedModels;
}

interface Failure {
  readonly error: OpenAiError;
  readonly at: number;
  /** When it was last asked for. */
  readonly askedAt: number;
}

interface Keyed {
  readonly digest: string;
  readonly job: Promise<JobRecord>;
}

export function createRuns(deps: RunsDeps): Runs {
  const { jobs, metrics, clock, log, models } = deps;
  const attendance = createAttendance(deps);
  const live = new Map<string, JobId>();
  const failures = createBoundedMap<string, Failure>(maxRemembered);
  const keys = createBoundedMap<string, Keyed>(maxRemembered);

  async function begin({ digest, fresh, isRetry }: CallRequest, spec: JobSpec): Promise<JobRecord> {
    const failure = fresh ? null : knownFailure(digest);
    if (failure !== null) throw failure;
    const same = live.get(digest);
    // Not every client says that it tries again.
    if (same !== undefined && (isRetry || attendance.isAwaited(same))) return await jobs.get(same);
    const job = await jobs.submit(spec, defaultCaller);
    metrics.accepted('chat');
    live.set(digest, job.id);
    void watch(digest, job.id);
    return job;
  }

  function knownFailure(digest: string): OpenAiError | null {
    const failure = failures.get(digest);
    const now = clock.now();
    // Also when the clock was set back.
    if (failure === undefined || now < failure.askedAt) return null;
    if (now - failure.askedAt >= memoMs || now - failure.at >= maxMemoMs) return null;
    failures.set(digest, { ...failure, askedAt: now });
    return failure.error;
  }

  /** Never rejects. */
  async function watch(digest: string, id: JobId): Promise<void> {
    try {
      const ended = await jobs.wait(id, null, null);
      models.note(ended);
      const error = paidFailure(ended);
      if (error !== null) failures.set(digest, { error, at: clock.now(), askedAt: clock.now() });
    } catch (error) {
      log.debug({ err: error, job_id: id }, 'the end of a run could not be waited for');
    } finally {
      // Who comes back for a run that ended meanwhile is to find it.
      await attendance.noReturn(id);
      if (live.get(digest) === id) live.delete(digest);
    }
  }

  async function open(request: CallRequest, spec: JobSpec): Promise<Run> {
    const { key, digest } = request;
    if (key === null) return { job: await begin(request, spec), replayed: false };
    const first = keys.get(key);
    if (first !== undefined) {
      if (first.digest !== digest) throw keyConflict();
      const job = await stillThere(first.job, jobs);
      if (job !== null) return { job, replayed: true };
    }
    const job = begin(request, spec);
    const entry = { digest, job };
    keys.set(key, entry);
    try {
      return { job: await job, replayed: false };
    } catch (error) {
      if (keys.get(key) === entry) keys.delete(key);
      throw error;
    }
  }

  return { open, attend: attendance.attend, patienceMs: attendance.patienceMs };
}

/** Reads it from the headers and the body. Throws `OpenAiError` (400) for a key that is none. */
export function callRequest({ headers, url, body }: FastifyRequest): CallRequest {
  const digest = digestOf(headers.authorization ?? '', url, JSON.stringify(body));
  const key = headers['idempotency-key'];
  if (key !== undefined && (typeof key !== 'string' || !/^[\x21-\x7e]{1,255}$/.test(key)))
    throw badRequest('Idempotency-Key: expected 1 to 255 visible characters', 'Idempotency-Key', 'invalid_value');
  return {
    digest,
    key: key === undefined ? null : digestOf(headers.authorization ?? '', key),
    isRetry: Number(headers['x-stainless-retry-count']) > 0,
    fresh: /\bno-cache\b/.test(headers['cache-control'] ?? ''),
  };
}

function digestOf(...parts: readonly string[]): string {
  const hash = createHash('sha256');
  for (const part of parts) hash.update(`${part.length}:`).update(part);
  return hash.digest('base64url');
}

/** The error of a run that may have cost money, and that would fail again; null for all else. */
function paidFailure(job: JobRecord): OpenAiError | null {
  if (!isFinished(job) || job.startedAt === null || interrupted.has(job.outcome.reason)) return null;
  const error = runError(job);
  if (error?.headers['x-should-retry'] !== 'false') return null;
  return new OpenAiError(error.status, error.body.error, { ...error.headers, 'x-job-id': job.id });
}

/** Null where there is nothing to replay: the run is gone, or its caller was, or it never came to run. */
async function stillThere(first: Promise<JobRecord>, jobs: JobService): Promise<JobRecord | null> {
  try {
    const job = await jobs.get((await first).id);
    const nothing = isFinished(job) && (job.outcome.reason === 'client_gone' || job.startedAt === null);
    return nothing ? null : job;
  } catch {
    // Refused or expired: this request is the first that counts.
    return null;
  }
}

function keyConflict(): OpenAiError {
  const message = 'The Idempotency-Key was used with another request';
  const error = { message, type: 'invalid_request_error', param: null, code: 'idempotency_conflict' };
  return new OpenAiError(422, error, { 'x-should-retry': 'false' });
}
