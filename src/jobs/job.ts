import type { Webhook } from './webhooks.ts';

/**
 * A job: one prompt, run by one agent CLI, in one git clone of its own.
 *
 *   queued ──claim──► running ──finish──► completed | failed | timeout | error | cancelled | lost
 *      ^          └──lost, with attempts left: queued again
 *      └────cancel, or the job to start after did not complete────────► cancelled
 */

import type { ChangeSummary } from './change-set.ts';

declare const brand: unique symbol;

/** Opaque, URL-safe and unguessable: see `createJobId`. */
export type JobId = string & { readonly [brand]: 'JobId' };

export const finalStatuses = ['completed', 'failed', 'timeout', 'error', 'cancelled', 'lost'] as const;
export const jobStatuses = ['queued', 'running', ...finalStatuses] as const;

export type FinalStatus = (typeof finalStatuses)[number];
export type JobStatus = (typeof jobStatuses)[number];

/** Why a job ended, in one word. There is no word for "unknown": whoever ends a job knows why. */
export const jobReasons = [
  'ok',
  'exit_nonzero',
  'agent_error',
  'no_result',
  'signal',
  'budget',
  'max_turns',
  'timeout',
  'idle',
  'cancelled',
  'client_gone',
  'output_limit',
  'disk_limit',
  'spawn_error',
  'workspace_error',
  'shutdown',
  'lost',
  'dependency',
] as const;
export type JobReason = (typeof jobReasons)[number];

export type Json = string | number | boolean | null | readonly Json[] | { readonly [key: string]: Json };
export interface JsonObject {
  readonly [key: string]: Json;
}

/** How often a job may be started at most: what is lost that often is lost for a reason. One digit: it ends the names of runs. */
export const maxAttempts = 5;

export const efforts = ['low', 'medium', 'high', 'xhigh', 'max'] as const;
export type Effort = (typeof efforts)[number];

/** A picture or a document that goes with a prompt. */
export interface Attachment {
  readonly kind: 'image' | 'document';
  readonly mediaType: string;
  /** Base64. */
  readonly data: string;
}

/** What was said before a prompt. */
export interface PastTurn {
  readonly role: 'user' | 'assistant';
  readonly text: string;
}

/** Everything that decides how a job runs. Validated at the edge; trusted from here on. */
export interface JobSpec {
  /** Which door it came through: a `chat` job is worth nothing once its caller has hung up. */
  readonly kind: 'execute' | 'chat';
  /** The agent CLI that runs it: a name in the provider registry. */
  readonly provider: string;
  /** Reaches the agent byte for byte. */
  readonly prompt: string;
  /** Added to the agent's own system prompt. */
  readonly systemPrompt: string | null;
  readonly agent: string | null;
  readonly model: string | null;
  readonly effort: Effort | null;
  readonly maxBudgetUsd: number;
  /** Counts the agent's run only: not the queue, not the clone. */
  readonly timeoutMs: number;
  /** How long the agent may print nothing. 0: as long as it likes; null or absent: what the service is set to. */
  readonly idleTimeoutMs?: number | null;
  readonly metadata: JsonObject | null;
  /** The branch, tag or commit of the base that it starts from; absent or null: the branch that the base follows. */
  readonly ref?: string | null;
  /** Push what a completed run changed as this branch to the remote of the base. */
  readonly pushBranch?: string;
  /** Keep the job past its time until its caller has acknowledged its end. */
  readonly followUp?: boolean;
  /** The job that must have completed before this one starts. */
  readonly after?: JobId | null;
  /** How often it may be started, where its run was lost. Absent: once. */
  readonly maxAttempts?: number;
  /** The job whose request this one repeats. */
  readonly retryOf?: JobId;
  /** Who is told of its changes. */
  readonly webhooks?: readonly Webhook[];
  /** JSON Schema of an object: the answer is JSON that fits it. Absent: the answer is text. */
  readonly outputSchema?: JsonObject;
  readonly attachments?: readonly Attachment[];
  /** The conversation that the prompt goes on from: by turns, the first of the user, the last of the agent. */
  readonly history?: readonly PastTurn[];
  /** What the door that it came through has to know to tell of it later, and that it does tell: its answer is kept. */
  readonly door?: JsonObject;
}

/** How surely a job's processes are held: their process group, every descendant, or every descendant, shut in. */
export const containmentLevels = ['group', 'supervisor', 'namespace'] as const;
export type ContainmentLevel = (typeof containmentLevels)[number];

/** How the clone of a job comes to be: copied with shared blocks, copied, or made by git. */
export const cloneMethods = ['reflink', 'copy', 'git'] as const;
export type CloneMethod = (typeof cloneMethods)[number];

/** What became of a job's processes. Null where the level cannot know. */
export interface JobContainment {
  readonly level: ContainmentLevel;
  /** How many had to be killed. */
  readonly killed: number | null;
  /** How many could not be ended. */
  readonly survivors: number | null;
  /** Of the largest of the processes. */
  readonly peakRssBytes: number | null;
  /** Of all processes together. */
  readonly cpuSeconds: number | null;
}

/** What an agent left behind. Every field is null where the agent did not say. */
export interface AgentReport {
  readonly exitCode: number | null;
  /** The CLI's final JSON object as it printed it, one line; or, where there is none, the last lines of its output. */
  readonly output: readonly string[];
  /** The tail of its standard error, bounded. */
  readonly stderr: string;
  /** The agent's final text. */
  readonly result: string | null;
  /** All text that the agent streamed, turns separated by a blank line: what a chat answer holds. */
  readonly text: string | null;
  readonly usage: JsonObject | null;
  readonly costUsd: number | null;
  readonly numTurns: number | null;
  readonly sessionId: string | null;
  /** The full name of the model that answered: what an alias stood for on this day. */
  readonly resolvedModel: string | null;
  /** The HTTP status with which the model's API refused, if that is what ended the run. */
  readonly apiStatus: number | null;
  readonly containment: JobContainment | null;
  /** The most that the job was seen to take on disk, its workspace and its files; absent or null where nobody looked in time. */
  readonly diskBytes?: number | null;
}

/** How a job ended. `error` is a sentence for a person, null when it completed. */
export interface JobOutcome {
  readonly status: FinalStatus;
  readonly reason: JobReason;
  readonly error: string | null;
  readonly report: AgentReport;
  /** What the run changed; absent or null where no workspace was made, or where the service died before it could tell. */
  readonly changes?: ChangeSummary | null;
}

/** A run that was lost, after which the job was queued again. */
export interface EarlierAttempt {
  readonly startedAt: number;
  /** When it was found to be lost. */
  readonly endedAt: number;
  readonly reason: JobReason;
}

/** One row of the store. Times are epoch milliseconds. */
export interface JobRecord {
  readonly id: JobId;
  /** First come, first served: the order of admission. */
  readonly seq: number;
  readonly caller: string;
  readonly spec: JobSpec;
  readonly status: JobStatus;
  /** How often it was started. */
  readonly attempt: number;
  /** The attempts that were lost, oldest first; absent where there are none. */
  readonly earlier?: readonly EarlierAttempt[];
  readonly createdAt: number;
  readonly startedAt: number | null;
  readonly finishedAt: number | null;
  /** 1 = starts next; null once it is not queued, and while it waits for another job. */
  readonly queuePosition: number | null;
  /** Absent where nobody asked for a follow-up; `due` until the caller has acknowledged the end. */
  readonly followUp?: 'due' | 'done';
  /** Null until the job is final. */
  readonly outcome: JobOutcome | null;
}

export type FinishedJob = JobRecord & { readonly status: FinalStatus; readonly outcome: JobOutcome };

export const emptyReport: AgentReport = {
  exitCode: null,
  output: [],
  stderr: '',
  result: null,
  text: null,
  usage: null,
  costUsd: null,
  numTurns: null,
  sessionId: null,
  resolvedModel: null,
  apiStatus: null,
  containment: null,
};

/** True where the answer is JSON that fits a schema. */
export function isStructured(spec: JobSpec): boolean {
  return spec.outputSchema !== undefined;
}

/** True once nothing more can happen to a job in this state. */
export function isFinal(status: JobStatus): status is FinalStatus {
  return status !== 'queued' && status !== 'running';
}

export function isFinished(job: JobRecord): job is FinishedJob {
  return isFinal(job.status) && job.outcome !== null;
}

/** An outcome of a job that no agent reported on. */
export function outcomeWithoutAgent(status: FinalStatus, reason: JobReason, error: string): JobOutcome {
  return { status, reason, error, report: emptyReport };
}
