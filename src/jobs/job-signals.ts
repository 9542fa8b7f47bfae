import { isFinal, type JobId, type JobRecord } from './job.ts';

type Listener = (job: JobRecord) => void;

/** Tells whoever waits in this process what became of a job. Holds nothing for a job that nobody waits for. */
export interface JobSignals {
  /** Calls `listener` on each change of the job's state until the returned function is called. */
  on(id: JobId, listener: Listener): () => void;
  tell(job: JobRecord): void;
  /** Calls `listener` once when everyone who waits for work that will not start now should stop waiting. */
  onSettle(listener: () => void): () => void;
  settle(): void;
  /** True once `settle` was called. */
  isSettled(): boolean;
}

export function createJobSignals(): JobSignals {
  const listeners = new Map<JobId, Set<Listener>>();
  const settlers = new Set<() => void>();
  let settled = false;
  return {
    on(id, listener) {
      const set = listeners.get(id) ?? new Set();
      listeners.set(id, set.add(listener));
      return () => {
        set.delete(listener);
        if (set.size === 0 && listeners.get(id) === set) listeners.delete(id);
      };
    },
    tell(job) {
      for (const listener of [...(listeners.get(job.id) ?? [])]) listener(job);
    },
    onSettle(listener) {
      settlers.add(listener);
      return () => settlers.delete(listener);
    },
    settle() {
      settled = true;
      for (const listener of [...settlers]) listener();
    },
    isSettled: () => settled,
  };
}

export interface Wait {
  readonly id: JobId;
  /** Reads the job's state now: called after listening began, so that no change falls between. */
  readonly read: () => Promise<JobRecord>;
  readonly until: (job: JobRecord) => boolean;
  readonly timeoutMs: number | null;
  /** Also give up when the service stops starting jobs and this one has not started. */
  readonly settleQueued: boolean;
}

/** Resolves with the job once `until` holds, or with its state then when the time is over; rejects when the signal aborts. */
export async function waitForJob(signals: JobSignals, wait: Wait, signal: AbortSignal | null): Promise<JobRecord> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  // A caller may leave during the first read, when nobody looks at the promise yet: unhandled, that would end the process.
  promise.catch(() => undefined);
  let last: JobRecord | undefined;
  const done = [
    signals.on(wait.id, (job) => {
      last = job;
      const isLeft = wait.settleQueued && signals.isSettled() && job.status === 'queued';
      if (isLeft || wait.until(job)) resolve();
    }),
  ];
  if (wait.settleQueued) done.push(signals.onSettle(() => last?.status === 'queued' && resolve()));
  const onAbort = (): void => reject(signal?.reason);
  signal?.addEventListener('abort', onAbort, { once: true });
  const timer = wait.timeoutMs === null ? undefined : setTimeout(resolve, wait.timeoutMs);
  try {
    signal?.throwIfAborted();
    last = newest(await wait.read(), last);
    if (wait.until(last) || (wait.settleQueued && signals.isSettled() && last.status === 'queued')) return last;
    await promise;
    return wait.until(last) ? last : newest(await wait.read(), last);
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener('abort', onAbort);
    for (const stop of done) stop();
  }
}

/** A job only moves forward: what was told may be newer than what was read meanwhile. */
function newest(read: JobRecord, told: JobRecord | undefined): JobRecord {
  if (told === undefined) return read;
  return progressOf(told) > progressOf(read) ? told : read;
}

/** Queued, running, queued again where the run was lost, and so on, at last final. */
function progressOf({ status, attempt }: JobRecord): number {
  if (isFinal(status)) return Number.POSITIVE_INFINITY;
  return status === 'queued' ? 2 * attempt : 2 * attempt - 1;
}
