import type { JobId, JobOutcome, JobRecord, JobSpec } from '../jobs/job.ts';
import type { Cancellation, JobPage, JobQuery, NewJob } from '../jobs/ports.ts';
import type { Delivery } from '../jobs/webhooks.ts';
import type { Encoded } from './job-rows.ts';

/** What the store's thread can be asked. Everything is copied by structured clone, which keeps a key named `__proto__`. */
export interface Calls {
  submit: {
    input: { readonly job: SubmittedJob; readonly maxUnfinished: number; readonly goneBefore: number };
    output: Submitted;
  };
  claim: { input: { readonly freeSlots: number; readonly startedAt: number }; output: readonly JobRecord[] };
  finish: {
    input: {
      readonly id: JobId;
      readonly owner: string;
      readonly attempt: number;
      readonly outcome: JobOutcome;
      readonly finishedAt: number;
    };
    /** False when the claim no longer holds; `requeued` where the run was lost and another one is allowed. */
    output: boolean | 'requeued';
  };
  cancelQueued: {
    input: { readonly id: JobId; readonly outcome: JobOutcome; readonly finishedAt: number };
    output: Cancellation | undefined;
  };
  get: { input: JobId; output: JobRecord | undefined };
  list: { input: JobQuery; output: JobPage };
  /** False if the job is not final, undefined if there is none. */
  remove: { input: JobId; output: boolean | undefined };
  evict: {
    input: { readonly finishedBefore: number; readonly limit: number; readonly dueBefore: number };
    output: readonly JobId[];
  };
  acknowledge: { input: { readonly id: JobId; readonly now: number }; output: JobRecord | undefined };
  /** Running jobs whose owner this incarnation becomes. */
  adopt: { input: { readonly ids: readonly JobId[] }; output: readonly JobRecord[] };
  recover: { input: { readonly now: number }; output: readonly JobId[] };
  outboxTake: {
    input: { readonly limit: number; readonly now: number; readonly leaseMs: number };
    output: readonly Delivery[];
  };
  /** Without a failure it was delivered. */
  outboxSettle: {
    input: { readonly id: string; readonly failure: { readonly error: string; readonly nextAt: number | null } | null };
    output: null;
  };
  outboxNextAt: { input: null; output: number | null };
  outboxDead: { input: { readonly limit: number }; output: readonly Delivery[] };
  outboxResend: { input: { readonly id: string; readonly now: number }; output: boolean };
  outboxForget: { input: { readonly createdBefore: number }; output: null };
  /** Writes something of no meaning, so that its answer proves a commit. */
  probe: { input: null; output: null };
}

/** What the thread needs of a new job. A nested object costs ten times its JSON to be copied, on either side. */
export interface SubmittedJob
  extends Omit<NewJob, 'spec'>,
    Pick<JobSpec, 'kind' | 'followUp' | 'after' | 'maxAttempts' | 'metadata'> {
  /** Long ones are encoded by the thread: that would take the event loop milliseconds. */
  readonly spec: { readonly encoded: Encoded } | { readonly whole: JobSpec };
}

/** Null when the queue is full. */
type Submitted =
  | { readonly seq: number; readonly queuePosition: number | null }
  | { readonly outcome: 'unknown_dependency' }
  | { readonly outcome: 'admitted' | 'replayed' | 'idempotency_conflict'; readonly job: JobRecord }
  | null;

export type Request<K extends keyof Calls = keyof Calls> = {
  [P in K]: { readonly op: P; readonly input: Calls[P]['input'] };
}[K];

/** To the thread: requests in order, or the wish that it ends after all that came before. */
export type ToWorker = readonly Request[] | 'close';

export interface Counts {
  readonly queued: number;
  readonly running: number;
}

export type Answer = { readonly value: Calls[keyof Calls]['output'] } | { readonly failure: string };

/** From the thread: first how the opening went, then the answers, in the order of the requests. */
export type FromWorker =
  | { readonly type: 'opened'; readonly counts: Counts }
  /** The message is for an operator: it says what to do. */
  | { readonly type: 'refused'; readonly message: string }
  | {
      readonly type: 'answers';
      readonly answers: readonly Answer[];
      readonly counts: Counts;
      /** Jobs that ended because others did. */
      readonly ended: readonly JobRecord[];
    };

/** What the store's thread is started with. */
export interface WorkerInput {
  readonly file: string;
  /** Stands in every row that this process claims. */
  readonly incarnation: string;
}
