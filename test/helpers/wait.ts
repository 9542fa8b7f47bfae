import { setTimeout as delay } from 'node:timers/promises';
import { inspect } from 'node:util';

/** Short enough to cost a test nothing, long enough to leave the processor to what is waited for. */
const pollMs = 10;
/** A state that is due at once may take seconds on a loaded machine; only a fault takes this long. */
const defaultTimeoutMs = 15_000;
/** Keeps the message of a failed wait readable when the state is a long text. */
const shownCharacters = 2_000;

export interface WaitOptions {
  readonly timeoutMs?: number;
  /** Names what is waited for in the error. */
  readonly what?: string;
}

/**
 * Reads until the value satisfies `until`, and returns it. Rejects after the deadline with the last value in the message;
 * an error that `read` throws passes through. A `read` that never settles is bounded by the test's own timeout.
 */
export async function waitFor<T>(
  read: () => T | Promise<T>,
  until: (value: T) => boolean,
  { timeoutMs = defaultTimeoutMs, what = 'the state' }: WaitOptions = {},
): Promise<T> {
  const deadline = performance.now() + timeoutMs;
  for (;;) {
    const value = await read();
    if (until(value)) return value;
    if (performance.now() >= deadline) throw new Error(`waited ${timeoutMs} ms for ${what}; last seen: ${show(value)}`);
    await delay(pollMs);
  }
}

function show(value: unknown): string {
  const text = typeof value === 'string' ? value : inspect(value, { depth: 4 });
  return text.length > shownCharacters ? `${text.slice(0, shownCharacters)}…` : text;
}
