import type { Claim, Clock, JobQueue, Log, Store } from './ports.ts';

/** How long after a failed claim the next one is tried: the store may be out of disk space for a while. */
const retryMs = 1000;

export interface Dispatcher {
  /** Claims from now on; before, hints are kept for later. */
  begin(): void;
  /** A job was admitted: look. A hint; losing one costs time, never a job. */
  notify(): void;
  /** Claims nothing more. Resolves when a claim under way has been handed over. */
  stop(): Promise<void>;
}

interface DispatcherDeps {
  readonly store: Store;
  readonly queue: JobQueue;
  readonly clock: Clock;
  readonly log: Log;
  /** Runs one claimed job to its end; never rejects. */
  readonly run: (claim: Claim) => Promise<void>;
}

/** Moves jobs from the store to free places, oldest first. One claim at a time, so the order of starts is the order of admission. */
export function createDispatcher({ store, queue, clock, log, run }: DispatcherDeps): Dispatcher {
  let state: 'waiting' | 'claiming' | 'stopped' = 'waiting';
  let again = false;
  let retry: NodeJS.Timeout | undefined;
  let pumping: Promise<void> | undefined;

  async function pump(): Promise<void> {
    do {
      again = false;
      const free = queue.free();
      if (state !== 'claiming' || free === 0 || store.membership.counts().queued === 0) return;
      for (const claim of await store.jobs.claim(free, clock.now())) queue.add(() => run(claim));
    } while (again);
  }

  function notify(): void {
    again = true;
    if (state !== 'claiming' || pumping !== undefined) return;
    pumping = pump()
      .catch((error: unknown) => {
        log.error({ err: error }, 'could not claim a job; trying again');
        clearTimeout(retry);
        if (state === 'stopped') return;
        retry = setTimeout(() => {
          retry = undefined;
          notify();
        }, retryMs);
      })
      .finally(() => {
        pumping = undefined;
        // A hint that came after the last look must not wait for the next one.
        if (again && retry === undefined) notify();
      });
  }

  queue.onFree(notify);
  return {
    begin() {
      if (state === 'waiting') state = 'claiming';
      notify();
    },
    notify,
    async stop() {
      state = 'stopped';
      clearTimeout(retry);
      await pumping;
    },
  };
}
