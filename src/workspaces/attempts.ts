import { setTimeout as wait } from 'node:timers/promises';
import type { Clock, Log } from '../jobs/ports.ts';
import { GitError, type GitFailure } from './git.ts';
import { createMutex } from './mutex.ts';
import { until } from './until.ts';

/** What has to be had from elsewhere, each under a key: one at a time, tried again later where it failed. */
export interface Attempts {
  /**
   * Null once the work was done; otherwise why not, at once if it failed before: it is then tried again for those who come
   * later. Those who need the same share one attempt, which an abort of one of them does not end. Rejects only with the
   * signal's reason.
   */
  need(key: string, work: Work, signal: AbortSignal): Promise<string | null>;
  /** Grows when something can be had that could not be had before. */
  revision(): number;
  close(): void;
}

export type Work = (signal: AbortSignal) => Promise<void>;

/** A clause for a person. */
export class Refusal extends Error {}

interface AttemptsOptions {
  /** How long after a failure it is tried again, if somebody needs it then; for nobody each time twice as long, up to an hour. */
  readonly retryMs: number;
  readonly log: Log;
  readonly clock: Clock;
}

const maxRetryMs = 3_600_000;
/** Of commits that are gone from the base for long, nobody needs what they lacked. */
const maxFailures = 100;

interface Failed {
  readonly work: Work;
  readonly reason: string;
  readonly at: number;
}

export function createAttempts({ log, clock, retryMs }: AttemptsOptions): Attempts {
  const oneByOne = createMutex();
  const closing = new AbortController();
  const running = new Map<string, Promise<string | null>>();
  const failed = new Map<string, Failed>();
  /** Somebody has given up waiting for these, and goes without. */
  const missed = new Set<string>();
  let revision = 0;
  let retrying = false;

  async function attempt(key: string, work: Work): Promise<string | null> {
    try {
      await oneByOne.run(() => work(closing.signal), closing.signal);
      const wasMissed = missed.delete(key);
      if (failed.delete(key) || wasMissed) revision += 1;
      return null;
    } catch (error) {
      const reason = reasonOf(error);
      if (closing.signal.aborted) return reason;
      log.warn({ err: error, reason, of: key }, 'a part of the base could not be fetched; it is left out for now');
      failed.delete(key);
      missed.delete(key);
      failed.set(key, { work, reason, at: clock.now() });
      const oldest = failed.keys().next();
      if (failed.size > maxFailures && oldest.done !== true) failed.delete(oldest.value);
      void retry();
      return reason;
    }
  }

  function share(key: string, work: Work): Promise<string | null> {
    const shared = running.get(key) ?? attempt(key, work).finally(() => running.delete(key));
    running.set(key, shared);
    return shared;
  }

  async function retry(): Promise<void> {
    if (retrying) return;
    retrying = true;
    const again = async () => {
      for (const [key, { work }] of [...failed]) await share(key, work);
      return failed.size > 0;
    };
    await repeat(again, retryMs, closing.signal);
    retrying = false;
  }

  return {
    async need(key, work, signal) {
      const before = failed.get(key);
      if (before !== undefined) {
        if (clock.now() - before.at >= retryMs) void share(key, work);
        return before.reason;
      }
      try {
        return await until(() => share(key, work), signal);
      } catch (error) {
        if (running.has(key)) missed.add(key);
        throw error;
      }
    },
    revision: () => revision,
    close: () => closing.abort(),
  };
}

/** As long as there is something to do, and ever more seldom. Never rejects. */
async function repeat(again: () => Promise<boolean>, firstMs: number, signal: AbortSignal): Promise<void> {
  try {
    for (let ms = firstMs, goesOn = true; goesOn; ms = Math.min(maxRetryMs, ms * 2)) {
      await wait(ms, undefined, { ref: false, signal });
      goesOn = await again();
    }
  } catch {
    // Closed: nobody needs it any longer.
  }
}

const reasons: Readonly<Record<GitFailure, string>> = {
  missing: 'git is not installed',
  timeout: 'the remote took too long',
  no_answer: 'the remote does not answer',
  credentials: 'the remote refused the credentials',
  no_branch: 'the remote has no such commit',
  no_repository: 'there is no repository at its address',
  owner: 'the repository belongs to another user',
  failed: 'git failed, and the log has the reason',
};

export function reasonOf(error: unknown): string {
  if (error instanceof Refusal) return error.message;
  return error instanceof GitError ? reasons[error.failure] : 'it could not be written here';
}
