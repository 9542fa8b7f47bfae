import type { JobId, JobOutcome, JobRecord } from '../jobs/job.ts';
import type { Cancellation, JobPage, JobQuery, NewJob } from '../jobs/ports.ts';

/** What the store's thread can be asked. Everything is copied by structured clone, which keeps a key named `__proto__`. */
export interface Calls {
  submit: {
    input: { readonly job: NewJob; readonly maxUnfinished: number };
    /** Null when the queue is full. */
    output: { readonly seq: number; readonly queuePosition: number } | null;
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
    /** False when the claim no longer holds. */
    output: boolean;
  };
  cancelQueued: {
    input: { readonly id: JobId; readonly outcome: JobOutcome; readonly finishedAt: number };
    output: Cancellation | undefined;
  };
  get: { input: JobId; output: JobRecord | undefined };
  list: { input: JobQuery; output: JobPage };
  remove: { input: JobId; output: boolean };
  evict: { input: { readonly finishedBefore: number; readonly limit: number }; output: readonly JobId[] };
  recover: { input: { readonly now: number }; output: readonly JobId[] };
  /** Writes something of no meaning, so that its answer proves a commit. */
  probe: { input: null; output: null };
}

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
  | { readonly type: 'answers'; readonly answers: readonly Answer[]; readonly counts: Counts };

/** What the store's thread is started with. */
export interface WorkerInput {
  readonly file: string;
  /** Stands in every row that this process claims. */
  readonly incarnation: string;
}
