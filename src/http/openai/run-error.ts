import { type FinishedJob, isFinished, type JobReason, type JobRecord } from '../../jobs/job.ts';
import { answerText } from './answers.ts';
import { OpenAiError } from './errors.ts';

/** How a run that ended without an answer is told to an OpenAI client. */
interface Failure {
  readonly status: number;
  readonly type: 'server_error' | 'rate_limit_error';
  readonly code: string;
  readonly message: string;
  /** What `x-should-retry` says; undefined leaves it to the client. False wherever a run may have cost money. */
  readonly retry: boolean | undefined;
}

/** Seconds: what could not start now may start once others have ended. */
const retryAfterSeconds = '5';
const tooManyRequests = 429;

const stopped: Failure = {
  status: 503,
  type: 'server_error',
  code: 'service_unavailable',
  message: 'The service was stopped before the run ended',
  retry: false,
};
const notStarted: Failure = { ...stopped, message: 'The service was stopped before the run began', retry: true };
const upstreamLimit: Failure = {
  status: tooManyRequests,
  type: 'rate_limit_error',
  code: 'upstream_rate_limited',
  message: "The model's API refused the run: rate limited",
  retry: undefined,
};

function agentFailed(message: string): Failure {
  return { status: 500, type: 'server_error', code: 'agent_failed', message, retry: false };
}

/** Our own sentences: what an agent printed may hold paths. */
const failureOf: Readonly<Record<JobReason, Failure>> = {
  ok: agentFailed('The agent failed'),
  exit_nonzero: agentFailed('The agent failed: it exited with an error (exit_nonzero)'),
  agent_error: agentFailed('The agent failed: its result is an error (agent_error)'),
  no_result: agentFailed('The agent failed: it ended without a result (no_result)'),
  signal: agentFailed('The agent failed: a signal ended it (signal)'),
  budget: agentFailed('The agent reached its budget before it answered (budget)'),
  max_turns: agentFailed('The agent reached its limit of turns before it answered (max_turns)'),
  output_limit: agentFailed('The agent wrote more than it may (output_limit)'),
  disk_limit: agentFailed('The run took more disk space than it may (disk_limit)'),
  cancelled: agentFailed('The run was cancelled (cancelled)'),
  client_gone: agentFailed('The run was cancelled: its caller hung up (client_gone)'),
  dependency: agentFailed('The run was cancelled: another one did not complete (dependency)'),
  lost: agentFailed('The service died under the run (lost)'),
  shutdown: stopped,
  timeout: {
    status: 504,
    type: 'server_error',
    code: 'agent_timeout',
    message: 'The agent was ended at its time limit (timeout)',
    retry: false,
  },
  idle: {
    status: 504,
    type: 'server_error',
    code: 'agent_timeout',
    message: 'The agent was ended because it printed nothing for too long (idle)',
    retry: false,
  },
  workspace_error: {
    status: 503,
    type: 'server_error',
    code: 'workspace_failed',
    message: 'No workspace could be made for the run (workspace_error)',
    retry: true,
  },
  spawn_error: {
    status: 503,
    type: 'server_error',
    code: 'service_unavailable',
    message: 'The agent could not be started (spawn_error)',
    retry: true,
  },
};

/** The error that tells of this job's end; null if it has an answer, be it cut short. A job that is not final never began. */
export function runError(job: JobRecord): OpenAiError | null {
  if (!isFinished(job)) return errorOf(notStarted);
  return hasAnswer(job) ? null : errorOf(failureFor(job));
}

/** The service itself could not follow the run: what it cost is not known. */
export function unfollowedError(): OpenAiError {
  return errorOf({ ...stopped, message: 'The run could not be followed to its end' });
}

/** True where the answer is whole, or as far as the run's own limits let it come. */
function hasAnswer(job: FinishedJob): boolean {
  const { status, reason, report } = job.outcome;
  return status === 'completed' || ((reason === 'budget' || reason === 'max_turns') && answerText(report) !== '');
}

function failureFor({ outcome, startedAt }: FinishedJob): Failure {
  const { apiStatus, costUsd } = outcome.report;
  if (outcome.reason === 'shutdown' && startedAt === null) return notStarted;
  if (apiStatus === tooManyRequests) return (costUsd ?? 0) > 0 ? { ...upstreamLimit, retry: false } : upstreamLimit;
  const failure = failureOf[outcome.reason];
  if (apiStatus === null || failure.code !== 'agent_failed') return failure;
  return agentFailed(`The agent failed: the model's API answered with status ${apiStatus} (${outcome.reason})`);
}

function errorOf({ status, type, code, message, retry }: Failure): OpenAiError {
  return new OpenAiError(
    status,
    { message, type, param: null, code },
    {
      ...(retry !== undefined && { 'x-should-retry': String(retry) }),
      ...(retry === true && { 'retry-after': retryAfterSeconds }),
    },
  );
}
