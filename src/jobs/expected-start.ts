/** When a queued job will start, judged by how long the last runs took. Epoch milliseconds. */
export interface ExpectedStart {
  readonly at: number;
  /** Between these unless the coming runs are unlike the last ones. */
  readonly earliest: number;
  readonly latest: number;
  /** How many runs it is judged by. */
  readonly samples: number;
}

export interface RunTimes {
  /** A run ended that took so long. */
  observe(durationMs: number): void;
  /** Null where too few runs are known for a judgement. */
  expectedStart(queuePosition: number, running: number, now: number): ExpectedStart | null;
}

/** Few enough that a change of the work is soon followed. */
const kept = 100;
/** With fewer, any figure would be a guess. */
const fewest = 5;

/**
 * A job at place `n` of those that have to wait starts when `n` runs have ended: with `capacity` side by side that is after at
 * least (n - 1) / capacity whole runs, and at most n / capacity, rounded down and up. Short runs (the lower quarter) give the
 * earliest time, long ones (the upper tenth) the latest.
 */
export function createRunTimes(capacity: number): RunTimes {
  const durations: number[] = [];
  return {
    observe(durationMs) {
      durations.push(Math.max(0, durationMs));
      if (durations.length > kept) durations.shift();
    },
    expectedStart(queuePosition, running, now) {
      if (durations.length < fewest) return null;
      const waits = queuePosition - Math.max(0, capacity - running);
      const samples = durations.length;
      if (waits <= 0) return { at: now, earliest: now, latest: now, samples };
      const sorted = durations.toSorted((a, b) => a - b);
      const quantile = (share: number): number => sorted[Math.floor(share * (sorted.length - 1))] ?? 0;
      const mean = sorted.reduce((sum, duration) => sum + duration, 0) / sorted.length;
      const earliest = now + Math.floor((waits - 1) / capacity) * quantile(0.25);
      const latest = now + Math.ceil(waits / capacity) * quantile(0.9);
      // The mean of skewed times can lie outside: a judgement must not contradict itself.
      const at = Math.min(latest, Math.max(earliest, now + (waits / capacity) * mean));
      return { at: Math.round(at), earliest: Math.round(earliest), latest: Math.round(latest), samples };
    },
  };
}
