/** Lets a bounded number of tasks run at once; the others wait in the order of their arrival. */
export interface Mutex {
  /**
   * Runs `work` when its turn has come. Rejects with the signal's reason if that aborts while it waits; once `work` runs, the
   * signal is its own affair.
   */
  run<Result>(work: () => Promise<Result>, signal?: AbortSignal): Promise<Result>;
}

/** With one place it is a mutex; with more, a bound on parallel work. `onTurn` is told how long each task waited, in ms. */
export function createMutex(places = 1, onTurn?: (waitedMs: number) => void): Mutex {
  const waiting = new Set<() => void>();
  let free = places;

  async function run<Result>(work: () => Promise<Result>, signal?: AbortSignal): Promise<Result> {
    signal?.throwIfAborted();
    const since = performance.now();
    if (free > 0) free -= 1;
    else await turn(waiting, signal);
    try {
      onTurn?.(performance.now() - since);
      return await work();
    } finally {
      release();
    }
  }

  /** The place goes straight to the next in line, so that a newcomer cannot overtake it. */
  function release(): void {
    const [next] = waiting;
    if (next === undefined) free += 1;
    else {
      waiting.delete(next);
      next();
    }
  }

  return { run };
}

function turn(waiting: Set<() => void>, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    const go = () => {
      signal?.removeEventListener('abort', giveUp);
      resolve();
    };
    const giveUp = () => {
      waiting.delete(go);
      reject(signal?.reason);
    };
    signal?.addEventListener('abort', giveUp, { once: true });
    waiting.add(go);
  });
}
