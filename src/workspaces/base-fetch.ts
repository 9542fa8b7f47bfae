import { setTimeout as wait } from 'node:timers/promises';
import type { Clock, Log } from '../jobs/ports.ts';
import type { Git } from './git.ts';
import type { Mutex } from './mutex.ts';
import type { OpenBase } from './open-base.ts';
import { readRef } from './read-ref.ts';

export interface BaseFetch {
  /** Resolves when the base is as fresh as it gets without a long wait. A burst of calls shares one fetch. Never rejects. */
  refresh(base: OpenBase): Promise<void>;
  /** Brings the work tree up to the branch, for people who look into it: no job waits for it, none depends on it. */
  syncWorkTree(base: OpenBase): Promise<void>;
  /** Grows whenever a fetch begins or ends; odd while one is under way. What reads the base meanwhile may stumble over it. */
  epoch(): number;
}

export interface BaseFetchDeps {
  readonly git: Git;
  /** Two fetches begin at least this far apart, whether they went well or not. */
  readonly fetchDebounceMs: number;
  /** Held around all that changes the base. Clones do not need it: what they read is only ever added to. */
  readonly changes: Mutex;
  readonly closing: AbortSignal;
  readonly log: Log;
  readonly clock: Clock;
}

/** A fetch of a busy repository over a slow line ends well before; a hung one should not live on. */
const fetchTimeoutMs = 120_000;
/** How long jobs wait for a fetch, counted from its start: longer than a good one takes, short enough to bear. */
const fetchWaitMs = 3_000;
/** Checks out what changed between two commits. */
const workTreeTimeoutMs = 120_000;

export function createBaseFetch(deps: BaseFetchDeps): BaseFetch {
  const { fetchDebounceMs, changes, clock } = deps;
  let startedAt = Number.NEGATIVE_INFINITY;
  /** Of the fetch under way: it ends when the fetch does, or when no job should wait for it any longer. */
  let patience: Promise<void> | null = null;
  let epoch = 0;

  async function refresh(base: OpenBase): Promise<void> {
    if (base.originUrl === null) return;
    if (patience === null && clock.now() - startedAt >= fetchDebounceMs) {
      startedAt = clock.now();
      patience = Promise.race([fetchAlone(base), wait(fetchWaitMs, undefined, { ref: false })]);
    }
    await patience;
  }

  async function fetchAlone(base: OpenBase): Promise<void> {
    epoch += 1;
    const moved = await changes.run(() => fetchInto(base, deps));
    epoch += 1;
    patience = null;
    if (moved) void syncWorkTree(base);
  }

  async function syncWorkTree(base: OpenBase): Promise<void> {
    if (!base.bare) await changes.run(() => checkOut(base, deps));
  }

  return { refresh, syncWorkTree, epoch: () => epoch };
}

/** True if the branch has moved. Never rejects. */
async function fetchInto({ branch, path, gitDir, transport }: OpenBase, { git, closing, log }: BaseFetchDeps) {
  const head = `refs/heads/${branch}`;
  // Straight into the branch, checked out or not: clones read refs and objects, never the work tree.
  const refspecs = [`+${head}:refs/remotes/origin/${branch}`, `+${head}:${head}`];
  const args = ['fetch', '--verbose', '--update-head-ok', '--no-write-fetch-head', 'origin', ...refspecs];
  try {
    const before = await readRef(gitDir, head);
    await git({ cwd: path, args, transport, timeoutMs: fetchTimeoutMs, signal: closing });
    const after = await readRef(gitDir, head);
    log.debug({ before, after }, 'base fetched');
    return after !== before;
  } catch (error) {
    if (!closing.aborted) log.warn({ err: error }, 'base could not be fetched, the last good one is used');
    return false;
  }
}

/** Never rejects. */
async function checkOut({ path, branch }: OpenBase, { git, closing, log }: BaseFetchDeps): Promise<void> {
  try {
    const args = ['checkout', '--force', branch, '--'];
    await git({ cwd: path, args, timeoutMs: workTreeTimeoutMs, signal: closing });
  } catch (error) {
    if (!closing.aborted) log.warn({ err: error }, 'work tree of the base not updated; clones do not need it');
  }
}
