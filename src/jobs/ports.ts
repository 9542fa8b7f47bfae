import type { Readable } from 'node:stream';
import type { ChangeSet, ChangeSummary } from './change-set.ts';
import type { FinishedJob, JobId, JobOutcome, JobReason, JobRecord, JobSpec, JobStatus } from './job.ts';
import type { Outbox } from './webhooks.ts';

/** A job on its way in: the service makes the id, so that a caller can be told it whatever happens next. */
export interface NewJob {
  readonly id: JobId;
  readonly caller: string;
  readonly spec: JobSpec;
  readonly createdAt: number;
  /** Absent: every submit is a new job. */
  readonly idempotency?: Idempotency;
}

/** How a caller's repeated submit is recognised. */
export interface Idempotency {
  /** Chosen by the caller; callers do not see each other's. */
  readonly key: string;
  /** Of what is submitted: the same key with another content is a mistake. */
  readonly hash: string;
}

export type Admission =
  | { readonly outcome: 'admitted'; readonly job: JobRecord }
  /** The job that the same caller submitted with the same key and content, as it is now. Nothing was written. */
  | { readonly outcome: 'replayed'; readonly job: JobRecord }
  /** That job, but it was submitted with another content. Nothing was written. */
  | { readonly outcome: 'idempotency_conflict'; readonly job: JobRecord }
  /** The job that it was to start after is not one of this caller's, or no longer kept. */
  | { readonly outcome: 'unknown_dependency' }
  | { readonly outcome: 'queue_full' };

export interface Cancellation {
  readonly job: JobRecord;
  readonly changed: boolean;
}

/** The right to run one job, once. Every write of its runner carries owner and attempt: who lost it can change nothing. */
export interface Claim {
  readonly job: JobRecord;
  readonly attempt: number;
  readonly owner: string;
  /** Its agent runs already: it outlived the process that started it. */
  readonly adopted?: true;
}

export interface JobQuery {
  readonly status: JobStatus | null;
  readonly caller: string | null;
  /** 1 .. 200. */
  readonly limit: number;
  /** Only jobs admitted before this one: the `seq` of the last item of the page before. */
  readonly beforeSeq: number | null;
  readonly agent?: string;
  /** A field of the first level of the metadata; with a value, only where it holds that scalar, written as text. */
  readonly metadata?: { readonly name: string; readonly value: string | null };
  /** From then on, and before then. */
  readonly createdFrom?: number;
  readonly createdBefore?: number;
  /** Of the jobs whose follow-up was asked for: final and not yet acknowledged, or acknowledged. */
  readonly followedUp?: boolean;
}

/** Newest first. Items come without output, stderr, result and text, and with at most 1,000 characters of each prompt. */
export interface JobPage {
  readonly jobs: readonly JobRecord[];
  /** The `beforeSeq` of the next page; null on the last one. */
  readonly nextBeforeSeq: number | null;
}

/**
 * The row is the truth. Every change of a status is one conditional statement, so that of two who try only one succeeds.
 * All members may be called concurrently and reject with `UnavailableError` when the store does not answer; a promise that
 * resolves after a write means that the write survives a loss of power.
 */
export interface JobStore {
  /**
   * Admits the job if fewer than `maxUnfinished` are queued or running, exactly, however many arrive at once. Of those with the
   * same caller and idempotency key the first is admitted; the others get that job, also when the queue is full.
   *
   * A job that is to start after another one (`spec.after`) counts too, but has no place in the queue until that one has completed;
   * then it has the one of its admission. Once that one ended otherwise, before or after the submit, it is `cancelled`
   * (`dependency`), and so is what was to start after it: all in the transaction of that end. A final one that finished at or
   * before `goneBefore`, and whose follow-up is not due, is as good as unknown.
   */
  submit(job: NewJob, limits: { readonly maxUnfinished: number; readonly goneBefore?: number }): Promise<Admission>;
  /** Takes up to `freeSlots` of the oldest queued jobs that wait for no other to `running`, in the order of admission. */
  claim(freeSlots: number, startedAt: number): Promise<readonly Claim[]>;
  /**
   * `running` to a final state; undefined if the claim no longer holds (then nothing was written). A run that was `lost` takes the job
   * back to its place in the queue instead, as often as `spec.maxAttempts` allows, unless its end was asked for.
   */
  finish(claim: Claim, outcome: JobOutcome, finishedAt: number): Promise<JobRecord | undefined>;
  /** `queued` to `cancelled`; a running one is not queued again from then on. Answers the job as it is then, and whether this call changed it; undefined if there is none. */
  cancelQueued(id: JobId, outcome: JobOutcome, finishedAt: number): Promise<Cancellation | undefined>;
  get(id: JobId): Promise<JobRecord | undefined>;
  list(query: JobQuery): Promise<JobPage>;
  /**
   * Deletes up to `limit` final jobs that finished before then, and names them; those whose follow-up is due only if they
   * finished before `dueBefore` too. Queued and running ones are never touched.
   */
  evict(finishedBefore: number, limit: number, dueBefore?: number): Promise<readonly JobId[]>;
}

/** What callers say about jobs that have ended. */
export interface JobKeeping {
  /** Deletes a job if it is final. False if it is not; undefined if there is none. */
  remove(id: JobId): Promise<boolean | undefined>;
  /** The follow-up of a final job is done, if it was due. Answers the job as it is then; undefined if there is none. */
  acknowledge(id: JobId, now: number): Promise<JobRecord | undefined>;
}

/** Who runs what. The embedded store has one member; a shared one will have several. */
export interface Membership {
  /**
   * Called once, before the first claim: jobs that were `running` under an earlier incarnation become `lost`, or
   * are queued again as `finish` would do it (`cancelled`, if their end had been asked for); queued chat
   * jobs, whose callers went with the connection, become `cancelled` (`client_gone`). Names all it changed. No webhook waits for
   * longer than after its last try from then on: the clock may have been set back.
   */
  recover(now: number): Promise<readonly JobId[]>;
  /** Makes these running jobs of an earlier incarnation this one's own, before `recover`. Absent where runs never outlive one. */
  adopt?(ids: readonly JobId[]): Promise<readonly Claim[]>;
  /** How many jobs are in each unfinished state, from memory. */
  counts(): { readonly queued: number; readonly running: number };
}

/** What an adapter's factory returns. */
export interface Store {
  readonly jobs: JobStore;
  readonly keeping: JobKeeping;
  readonly outbox: Outbox;
  readonly membership: Membership;
  /** Calls the listener with each job that ended because the one that it was to start after did not complete. */
  onDependentEnded?(listener: (job: JobRecord) => void): void;
  /** Resolves when a transaction went through just now; rejects with `UnavailableError` otherwise. */
  ready(): Promise<void>;
  /** Writes what was accepted, then lets go of the file. Idempotent. */
  close(): Promise<void>;
}

/** Bounds how many jobs run at once on this machine. Holds only what the store already shows as `running`. */
export interface JobQueue {
  /** Places that are free now. */
  free(): number;
  /** Starts `run` at once, in a free place. `run` never rejects. */
  add(run: () => Promise<void>): void;
  /** Calls `listener` each time a place has become free. */
  onFree(listener: () => void): void;
  /** Resolves when nothing runs. */
  idle(): Promise<void>;
}

/** A clone of one job's own. */
export interface Workspace extends AsyncDisposable {
  readonly path: string;
  /** The commit that the clone starts from; null in an empty repository. */
  readonly baseCommit: string | null;
  /**
   * Keeps what was changed since the clone was made, and sums it up. Called once, when no process of the job is left, and
   * before disposing. Takes 30 s at most and never rejects: what could not be told is in `problem`. Null where no process
   * noted the clone. With `pushBranch` the result is then pushed to the remote of the base, which takes 60 s more at most.
   */
  changes(pushBranch?: string): Promise<ChangeSummary | null>;
  /**
   * Disposes of it, but what is untouched may serve another job. Only where none of the processes that worked in it can be left.
   * Never rejects.
   */
  giveBack(): Promise<void>;
  // Disposing takes it out of sight at once and removes it later. It never rejects: it logs, and leaves the rest to `sweep`.
}

export interface WorkspaceManager {
  /**
   * Makes a fresh clone of the base for one job, at its branch or at the branch, tag or commit that `ref` names. Safe to call concurrently; rejects with `WorkspaceError`, or with the
   * signal's reason once it aborted. What it left half-made is removed by itself.
   */
  create(id: JobId, signal: AbortSignal, options?: { readonly ref: string | null }): Promise<Workspace>;
  /** The workspace of a running job that an earlier process made; the next `sweep` leaves it alone. */
  adopt?(id: JobId): Workspace;
  /** What `Workspace.changes` kept of a job, until the job is forgotten; null if there is nothing. */
  changesOf(id: JobId): Promise<ChangeSet | null>;
  /** The same as a patch that `git apply` takes on the base commit; null if nothing changed. */
  patchOf(id: JobId): Promise<Readable | null>;
  /** Removes every workspace that a dead process left, and keeps what jobs in `known` changed. Called at start, before the first `create`. */
  sweep(known?: (id: JobId) => Promise<boolean>): Promise<void>;
  /** Why no workspace can be made now, a sentence for an operator; null when all is well. */
  check(): Promise<string | null>;
  /** Waits for removals under way, up to a bound of its own. */
  close(): Promise<void>;
}

/** What may end a run from outside: the reason of the signal given to `AgentRunner.run`. */
export type EndReason = Extract<JobReason, 'cancelled' | 'client_gone' | 'shutdown'>;

export interface AgentRun {
  readonly id: JobId;
  readonly spec: JobSpec;
  readonly workspacePath: string;
  /** Which start of the job it is; each has a log of its own. Absent: the first. */
  readonly attempt?: number;
  /** It runs already: see `canAdopt`. */
  readonly adopted?: boolean;
}

/** One thing that an agent did, the same for every CLI. */
export type AgentEvent =
  /** A piece of the answer. All pieces of a run, joined, are `AgentReport.text`. */
  | { readonly type: 'text'; readonly text: string }
  /** The run has begun; the model that the CLI chose. */
  | { readonly type: 'start'; readonly model: string | null; readonly sessionId: string | null };

export interface AgentRunner {
  /**
   * Runs the agent to its end and never rejects: whatever happens is an outcome, whose report is bounded (16 MiB at most, all
   * in all). The run is there to follow when this returns. When the signal aborts, with an `EndReason`, the agent's process
   * tree is ended first. Resolves only when none of the processes it knows of is left.
   */
  run(run: AgentRun, signal: AbortSignal): Promise<JobOutcome>;
  /**
   * Whether the agent of this job, which an earlier process started, runs still or has left word of its end. Then `run` with
   * `adopted` takes it over, and `sweep` leaves it alone; if not, what is left of it is killed. Never rejects.
   */
  canAdopt?(id: JobId, attempt?: number): Promise<boolean>;
  /**
   * What the agent of a running job does, from its beginning, live, until its run ended. Served from the log at the reader's
   * own pace: a slow reader costs no memory and loses nothing. Ends at once for a job that does not run here.
   */
  follow(id: JobId, signal: AbortSignal): AsyncIterable<AgentEvent>;
  /** The same of a job whose run has ended, with the same events in the same pieces, as long as its log is kept. */
  replay?(job: Pick<JobRecord, 'id' | 'spec'>, signal: AbortSignal): AsyncIterable<AgentEvent>;
  /** Removes the log of a job that is no longer kept. */
  forget(id: JobId): Promise<void>;
  /**
   * Removes what runs of a dead process left: processes before it resolves, temporary directories and the logs of jobs not in
   * `known` after that, while jobs run already.
   */
  sweep(known: (id: JobId) => Promise<boolean>): Promise<void>;
  /** From now on runs end without grace: the operator asked twice. */
  hurry(): void;
  /** Why no agent can be run now, a sentence for an operator that names the fix; null when all is well. */
  check(): Promise<string | null>;
}

/** What was made ready before its job was there: the job that is submitted under its id finds it when it runs. */
export interface ReadyIds {
  /** An id for a job that starts at once, or null where nothing is ready for such a one. Two never get the same. */
  reserve(spec: JobSpec): JobId | null;
  /** No job was admitted under this id. */
  release(id: JobId): void;
}

/** The time, so that tests can own it. */
export interface Clock {
  now(): number;
}

/** Where a job's report and status are told to whoever waits for them, in this process. */
export type JobEvent =
  | { readonly type: 'status'; readonly job: JobRecord }
  | { readonly type: 'agent'; readonly event: AgentEvent }
  | { readonly type: 'end'; readonly job: FinishedJob };

/** Structured logging: the subset of pino that the core and the adapters use. */
export interface Log {
  debug(fields: object, message: string): void;
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}
