import type { AgentRunner, Clock, JobStore, Log } from './ports.ts';

/** Jobs removed by one statement: small, so that a large backlog never holds up the store for long. */
const batch = 100;
/** Between two looks: a quarter of the time that jobs are kept, within these bounds. */
const minIntervalMs = 250;
const maxIntervalMs = 30_000;

export interface RetentionDeps {
  readonly store: JobStore;
  readonly runner: AgentRunner;
  readonly clock: Clock;
  readonly log: Log;
  readonly ttlMs: number;
}

/** Removes final jobs and their logs once they are older than their time to live. Returns the function that stops it. */
export function startRetention(deps: RetentionDeps): () => Promise<void> {
  let stopped = false;
  let timer: NodeJS.Timeout | undefined;
  let sweeping: Promise<void> = Promise.resolve();
  const intervalMs = Math.min(maxIntervalMs, Math.max(minIntervalMs, deps.ttlMs / 4));

  function schedule(): void {
    if (stopped) return;
    timer = setTimeout(() => {
      sweeping = evictExpired(deps, () => stopped)
        .catch((error: unknown) => deps.log.warn({ err: error }, 'old jobs could not be removed; trying again'))
        .finally(schedule);
    }, intervalMs);
  }

  schedule();
  return async () => {
    stopped = true;
    clearTimeout(timer);
    await sweeping;
  };
}

async function evictExpired(
  { store, runner, clock, log, ttlMs }: RetentionDeps,
  isStopped: () => boolean,
): Promise<void> {
  for (let full = true; full && !isStopped(); ) {
    const ids = await store.evict(clock.now() - ttlMs, batch);
    for (const id of ids) {
      await runner.forget(id).catch((error: unknown) => {
        log.warn({ err: error, job_id: id }, 'a log could not be removed; the next start does it');
      });
    }
    full = ids.length === batch;
  }
}
