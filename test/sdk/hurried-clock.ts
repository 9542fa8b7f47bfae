import { vi } from 'vitest';

/** Every pause is so much shorter. */
const factor = 100;
/** Clients pause for up to 64 s between two tries; what is longer is a deadline, and a busy machine needs all of it. */
const longestPauseMs = 100_000;

/** Shortens what the clients in this process wait before they try again. Returns what sets the clock right. */
export function hurryRetries(): () => void {
  const start = globalThis.setTimeout;
  vi.stubGlobal('setTimeout', (run: (...args: unknown[]) => void, ms = 0, ...args: unknown[]) =>
    start(run, ms > longestPauseMs ? ms : ms / factor, ...args),
  );
  return () => void vi.unstubAllGlobals();
}
