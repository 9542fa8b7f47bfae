import type { Clock, Log } from '../jobs/ports.ts';
import type { Git } from './git.ts';
import type { Mutex } from './mutex.ts';
import { type BaseSource, type OpenBase, remakeBase } from './open-base.ts';

interface RepairDeps extends BaseSource {
  readonly git: Git;
  readonly changes: Mutex;
  readonly closing: AbortSignal;
  /** Told before and after the base is replaced. */
  readonly onFetch: () => void;
  readonly opener: { get(): Promise<OpenBase>; forget(): void };
  readonly log: Log;
  readonly clock: Clock;
}

/** Clones also fail because a disk is full: a look takes minutes in a large repository, and is not for each of them. */
const betweenLooksMs = 300_000;
/** Reads every object of the largest repository. */
const checkTimeoutMs = 1_800_000;
/** The first finds what is missing, in a fraction of the time that the second takes to find what is garbled. */
const checks = [
  ['fsck', '--connectivity-only', '--no-dangling', '--no-progress'],
  ['fsck', '--no-dangling', '--no-progress'],
];

/** Answers whether the base was damaged and has been made anew. Never rejects. */
export function createRepair(deps: RepairDeps): () => Promise<boolean> {
  const { changes, clock, log } = deps;
  let lookedAt = Number.NEGATIVE_INFINITY;
  let repairing: Promise<boolean> | null = null;

  async function repair(): Promise<boolean> {
    if (clock.now() - lookedAt < betweenLooksMs) return false;
    try {
      // Opening it takes the mutex too.
      const base = await deps.opener.get();
      const repaired = await changes.run(() => lookAndRepair(base, deps));
      if (repaired) await deps.opener.get();
      return repaired;
    } catch (error) {
      if (!deps.closing.aborted) log.error({ err: error }, 'damaged base repository could not be made anew');
      return false;
    } finally {
      lookedAt = clock.now();
    }
  }

  return async () => {
    repairing ??= repair().finally(() => {
      repairing = null;
    });
    return await repairing;
  };
}

async function lookAndRepair(base: OpenBase, deps: RepairDeps): Promise<boolean> {
  const { closing, opener, onFetch, log } = deps;
  const damage = await damageOf(base, deps);
  if (damage === null) return false;
  const url = deps.baseUrl ?? base.originUrl;
  log.error({ err: damage, remade: url !== null && !base.bare }, 'base repository is damaged');
  // A bare one was put there by an operator, as one without a remote: what is left of it is theirs to save.
  if (url === null || base.bare) return false;
  onFetch();
  try {
    await remakeBase(deps, url, closing);
    opener.forget();
  } finally {
    onFetch();
  }
  log.warn({}, 'base repository was cloned anew');
  return true;
}

async function damageOf({ path }: OpenBase, { git, closing }: RepairDeps): Promise<unknown> {
  for (const args of checks) {
    try {
      await git({ cwd: path, args, timeoutMs: checkTimeoutMs, signal: closing });
    } catch (error) {
      closing.throwIfAborted();
      return error;
    }
  }
  return null;
}
