import { getCompileCacheDir } from 'node:module';
import { dirname } from 'node:path';
import { Worker } from 'node:worker_threads';
import { UnavailableError } from '../jobs/errors.ts';
import type { JobRecord } from '../jobs/job.ts';
import type { Log } from '../jobs/ports.ts';
import type { Answer, Calls, Counts, FromWorker, Request, ToWorker, WorkerInput } from './store-protocol.ts';

/** Far above what a batch needs, and reserves nothing: a leak in the thread ends the service, not the machine. */
const maxHeapMb = 512;

/** Requests of one tick go in one message, unless they hold more characters than this: the thread reads whole messages. */
const maxMessageSize = 1024 * 1024;
/**
 * Nor are more gathered than this: a tick with many requests takes a millisecond, in which the thread would have nothing to do, and then
 * the event loop nothing until it is done. 64 clients: 21,000 submits/s with whole ticks, 30,000 with eight.
 */
const maxGathered = 8;

/** Submits are refused while this much waits for the thread: a disk that hangs must not fill the memory. */
const maxWaiting = 10_000;
const maxWaitingSize = 256 * 1024 * 1024;

/** A full disk fails every request: one line in this time says so. */
const logEveryMs = 10_000;

/** The main thread's end of the store's thread. */
export interface WorkerChannel {
  /**
   * Asks the thread; requests are carried out in the order of the calls. `size` is about how many characters the input
   * holds. Rejects with `UnavailableError` if the request failed, or the thread is gone.
   */
  call<K extends keyof Calls>(op: K, input: Calls[K]['input'], size?: number): Promise<Calls[K]['output']>;
  /** False while so much waits that no new work should be taken on. */
  hasRoom(): boolean;
  /** As of the last answer: up to date when the promise of a write resolves. */
  counts(): Counts;
  /** Rejects with `UnavailableError`, its message for an operator, when the database could not be opened. */
  opened(): Promise<void>;
  /** Carries out what was asked, then ends the thread. Idempotent. */
  close(): Promise<void>;
}

export function createWorkerChannel(deps: {
  readonly program: URL;
  readonly input: WorkerInput;
  readonly log: Log;
  /** Told of jobs that ended because others did. */
  readonly onEnded?: (job: JobRecord) => void;
}): WorkerChannel {
  const { log } = deps;
  const worker = startWorker(deps.program, deps.input);
  const post = (message: ToWorker): void => worker.postMessage(message);
  const outbox = createOutbox(post);
  const waiting = createWaiting(log);
  const opening = Promise.withResolvers<void>();
  // Told by `opened`; without this, a refusal before anybody asked would end the process.
  opening.promise.catch(() => undefined);
  const exited = new Promise<void>((resolve) => worker.once('exit', () => resolve()));
  let counts: Counts = { queued: 0, running: 0 };
  let gone: UnavailableError | null = null;
  let closing = false;

  /** The first reason counts. Only who waits for the opening is told of the file. */
  const end = (cause: Error): void => {
    gone ??= new UnavailableError('The job store has stopped', { cause });
    opening.reject(new UnavailableError(cause.message, { cause }));
    outbox.clear();
    waiting.rejectAll(gone);
  };

  worker.on('message', (message: FromWorker) => {
    if (message.type === 'refused') return end(new Error(message.message));
    counts = message.counts;
    if (message.type === 'opened') opening.resolve();
    else {
      waiting.settle(message.answers);
      for (const job of message.ended) deps.onEnded?.(job);
    }
  });
  worker.once('error', end);
  worker.once('exit', (exitCode) => {
    end(new Error(`The thread of the job store ended with exit code ${exitCode}`));
    if (!closing) log.error({ err: gone?.cause }, 'The job store has stopped: nothing can be done until a restart');
  });

  return {
    call: (op, input, size = 0) => {
      if (gone !== null) return Promise.reject(gone);
      if (closing) return Promise.reject(new UnavailableError('The job store is closed'));
      const answer = waiting.add(size);
      outbox.add({ op, input } as Request, size);
      return answer;
    },
    hasRoom: waiting.hasRoom,
    counts: () => counts,
    opened: () => opening.promise,
    close: async () => {
      if (!closing && gone === null) {
        closing = true;
        outbox.flush();
        post('close');
      }
      await exited;
    },
  };
}

function startWorker(program: URL, input: WorkerInput): Worker {
  const cache = getCompileCacheDir();
  return new Worker(program, {
    workerData: input,
    // Of the environment only where compiled code is kept: not having to compile saves 15 MB.
    env: cache === undefined ? {} : { NODE_COMPILE_CACHE: dirname(cache) },
    execArgv: [],
    resourceLimits: { maxOldGenerationSizeMb: maxHeapMb },
  });
}

/** Gathers the requests of one tick for one message. */
function createOutbox(post: (requests: readonly Request[]) => void) {
  let requests: Request[] = [];
  let size = 0;

  const clear = (): readonly Request[] => {
    const taken = requests;
    requests = [];
    size = 0;
    return taken;
  };
  const flush = (): void => {
    if (requests.length > 0) post(clear());
  };

  return {
    add: (request: Request, requestSize: number): void => {
      if (requests.length === 0) setImmediate(flush);
      requests.push(request);
      size += requestSize;
      if (size >= maxMessageSize || requests.length >= maxGathered) flush();
    },
    flush,
    clear,
  };
}

interface Waiter {
  readonly size: number;
  // The call that made it knows the type of its answer.
  readonly resolve: (value: never) => void;
  readonly reject: (error: UnavailableError) => void;
}

/** Who waits for an answer, in the order of the requests: the thread answers in that order. */
function createWaiting(log: Log) {
  const waiters: Waiter[] = [];
  let waitingSize = 0;
  let lastLoggedAt = Number.NEGATIVE_INFINITY;

  const failed = (message: string): UnavailableError => {
    const cause = new Error(message);
    if (performance.now() - lastLoggedAt >= logEveryMs) {
      lastLoggedAt = performance.now();
      log.error({ err: cause }, 'The job store failed to carry out a request');
    }
    return new UnavailableError('The job store cannot do this now', { cause });
  };

  return {
    add: (size: number): Promise<never> => {
      waitingSize += size;
      return new Promise((resolve, reject) => waiters.push({ size, resolve, reject }));
    },
    settle: (answers: readonly Answer[]): void => {
      const answered = waiters.splice(0, answers.length);
      for (const [index, { size, resolve, reject }] of answered.entries()) {
        waitingSize -= size;
        const answer = answers[index];
        if (answer === undefined) continue;
        if ('value' in answer) resolve(answer.value as never);
        else reject(failed(answer.failure));
      }
    },
    rejectAll: (error: UnavailableError): void => {
      for (const { reject } of waiters.splice(0)) reject(error);
    },
    hasRoom: () => waiters.length < maxWaiting && waitingSize < maxWaitingSize,
  };
}
