import { setTimeout as wait } from 'node:timers/promises';
import type { Log } from '../jobs/ports.ts';
import { GitError, type GitFailure } from './git.ts';
import { createMutex } from './mutex.ts';
import { until } from './until.ts';

/** What has to be had from elsewhere, each under a key: one at a time, tried again later where it failed. */
export interface Attempts {
  /**
   * Null once the work was done; otherwise why not, at once if it failed before. Those who need the same share one attempt,
   * which an abort of one of them does not end. Rejects only with the signal's reason.
   */
  need(key: string, work: Work, signal: AbortSignal): Promise<string | null>;
  /** Grows when something can be had that could not be had before. */
  revision(): number;
  close(): void;
}

export type Work = (signal: AbortSignal) => Promise<void>;

/** A clause for a person. */
export class Refusal extends Error {}

export interface AttemptsOptions {
  readonly log: Log;
  /** How long after a failure it is tried again for the first time; each time later it is twice as long, up to an hour. */
  readonly retryMs: number;
}

const maxRetryMs = 3_600_000;
/** Of commits that are gone from the base for long, nobody needs what they lacked. */
const maxFailures = 100;

interface Failed {
  readonly work: Work;
  readonly reason: string;
}

export function createAttempts({ log, retryMs }: AttemptsOptions): Attempts {
  const oneByOne = createMutex();
  const closing = new AbortController();
  const running = new Map<string, Promise<string | null>>();
  const failed = new Map<string, Failed>();
  let revision = 0;
  let retrying = false;

  async function attempt(key: string, work: Work): Promise<string | null> {
    try {
      await oneByOne.run(() => work(closing.signal), closing.signal);
      if (failed.delete(key)) revision += 1;
      return null;
    } catch (error) {
      const reason = reasonOf(error);
      if (closing.signal.aborted) return reason;
      log.warn({ err: error, reason, of: key }, 'a part of the base could not be fetched; it is left out for now');
      failed.delete(key);
      failed.set(key, { work, reason });
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
    try {
      for (let ms = retryMs; failed.size > 0; ms = Math.min(maxRetryMs, ms * 2)) {
        await wait(ms, undefined, { ref: false, signal: closing.signal });
        for (const [key, { work }] of [...failed]) await share(key, work);
      }
    } catch {
      // Closed: nobody needs it any longer.
    }
    retrying = false;
  }

  return {
    async need(key, work, signal) {
      const before = failed.get(key);
      return before?.reason ?? (await until(() => share(key, work), signal));
    },
    revision: () => revision,
    close: () => closing.abort(),
  };
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
