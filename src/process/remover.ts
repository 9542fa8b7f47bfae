import { setImmediate } from 'node:timers/promises';
import { removeTrees } from './remove-tree.ts';

/** Removes directories in the background, and again later those that it could not. */
export interface Remover {
  /** Begins to remove a directory that nobody else names any more; see `removeTrees`. Returns at once. */
  remove(path: string): void;
  /** What could not be put away is put away by `again`, later and later. Counted as quarantined until `settle`. */
  setAside(what: string, again: () => void): void;
  /** What was set aside need not be tried again. Does nothing where it was not. */
  settle(what: string): void;
  /** How many wait or are being removed. */
  pending(): number;
  /** How many could not be removed, and wait for another try. */
  quarantined(): number;
  /** Waits for what is under way, up to a bound; what is left then is found by the next start. Idempotent. */
  close(): Promise<void>;
}

export interface RemoverOptions {
  readonly log: {
    info(fields: object, message: string): void;
    error(fields: object, message: string): void;
  };
  /** Told of each directory how long it took from `remove` to its end, in ms. */
  readonly onRemoved?: (ms: number) => void;
  readonly firstRetryMs?: number;
}

/** Far below what a command line may hold. */
const maxRemovedAtOnce = 200;
/** How long an exit of the service waits for removals. */
const closeWaitMs = 5_000;
/** Long enough for an operator, or a disk that was full, and doubled each time. */
const defaultFirstRetryMs = 60_000;
/** Then a try costs nothing that matters. */
const maxRetryMs = 3_600_000;

interface Aside {
  readonly timer: NodeJS.Timeout;
  readonly waitMs: number;
}

/** One process at a time for all that came meanwhile: more would only take the disk from the agents. */
export function createRemover({ log, onRemoved, firstRetryMs = defaultFirstRetryMs }: RemoverOptions): Remover {
  /** Since when. */
  const waiting = new Map<string, number>();
  const aside = new Map<string, Aside>();
  const closing = new AbortController();
  let working: Promise<void> | null = null;

  async function work(): Promise<void> {
    // Starting a process takes milliseconds of this thread: whoever waits for the rename goes first.
    await setImmediate();
    while (waiting.size > 0 && !closing.signal.aborted) {
      const batch = [...waiting.keys()].slice(0, maxRemovedAtOnce);
      const { left, error } = await removeTrees(batch, closing.signal);
      if (!closing.signal.aborted) for (const path of batch) note(path, left.includes(path) ? error : null);
    }
    working = null;
  }

  function note(path: string, error: Error | null): void {
    const since = waiting.get(path);
    waiting.delete(path);
    if (error === null) {
      if (aside.has(path)) log.info({ path }, 'what could not be removed is gone now');
      settle(path);
      if (since !== undefined) onRemoved?.(performance.now() - since);
      return;
    }
    // Said once: it is counted as long as it lasts.
    if (!aside.has(path)) log.error({ err: error, path }, 'a directory could not be removed; it is tried again later');
    setAside(path, () => remove(path));
  }

  function remove(path: string): void {
    if (closing.signal.aborted) return;
    waiting.set(path, performance.now());
    working ??= work();
  }

  function setAside(what: string, again: () => void): void {
    if (closing.signal.aborted) return;
    const before = aside.get(what);
    clearTimeout(before?.timer);
    const waitMs = before === undefined ? firstRetryMs : Math.min(maxRetryMs, before.waitMs * 2);
    // Kept in the list while it is tried, so that the next wait is longer.
    aside.set(what, { waitMs, timer: setTimeout(again, waitMs).unref() });
  }

  function settle(what: string): void {
    clearTimeout(aside.get(what)?.timer);
    aside.delete(what);
  }

  return {
    remove,
    setAside,
    settle,
    pending: () => waiting.size,
    quarantined: () => aside.size,
    async close() {
      const timer = setTimeout(() => closing.abort(), closeWaitMs);
      await working;
      clearTimeout(timer);
      closing.abort();
      for (const what of aside.keys()) settle(what);
    },
  };
}
