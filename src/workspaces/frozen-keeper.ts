import { randomBytes } from 'node:crypto';
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { Log } from '../jobs/ports.ts';
import type { BaseState } from './base-repo.ts';
import type { ChangeTaker, Snapshot } from './change-taker.ts';
import { packObjects } from './clone.ts';
import type { Contents } from './contents.ts';
import type { Copiers } from './copiers.ts';
import type { Git } from './git.ts';
import { makeDirectory, type Place, type Preparation } from './preparation.ts';
import type { Removal } from './removal.ts';
import type { TreeCopier } from './tree-copier.ts';

/** A clone that stays as it is until it goes. */
export interface Frozen {
  readonly name: string;
  readonly path: string;
  /** What else a clone follows from; where it differs, this one is of no use. */
  readonly origin: string;
  readonly commit: string;
  /** True if files of it were decrypted. */
  readonly unlocked: boolean;
  readonly large: boolean;
  copies: number;
  retired: boolean;
}

/** Has the newest frozen clone, and lets go of older ones. */
export interface FrozenKeeper {
  /**
   * The one to be copied, which stays until it is released; null if there is none, or if a clone by git is quicker. One of an
   * older commit is not `isFresh`.
   */
  claimFor(state: BaseState): Promise<{ readonly frozen: Frozen; readonly isFresh: boolean } | null>;
  release(frozen: Frozen): Promise<void>;
  /** Makes or replaces it where it is not of this state. One at a time. Never rejects. */
  renew(state: BaseState): Promise<void>;
  /** No more copies of this one; it goes when the last is done. */
  retire(frozen: Frozen): Promise<void>;
  /** Forgets the one there is, once nothing is under way. */
  forget(): Promise<void>;
}

export interface FrozenKeeperOptions {
  readonly jobsDir: string;
  readonly gitCryptKey: string;
  /** At low priority, as the one that follows. */
  readonly prepareLater: Preparation;
  readonly gitLater: Git;
  readonly copiers: Copiers;
  readonly removal: Removal;
  readonly taker: ChangeTaker;
  readonly contents: Contents;
  readonly closing: AbortSignal;
  readonly log: Log;
}

/** Beside the workspaces: so that a copy can share their blocks. */
export const frozenName = '.frozen';
/** Below it a clone of git takes less than a fetch and a reset. The size of an index tells. */
const largeIndexBytes = 1_000 * 80;
const sha256Length = 64;

export function createFrozenKeeper(options: FrozenKeeperOptions): FrozenKeeper {
  const { closing, copiers, removal } = options;
  const originOf = (state: BaseState) => originOfState(state, options);
  let current: Frozen | null = null;
  let renewing: Promise<void> | null = null;

  async function retire(frozen: Frozen): Promise<void> {
    if (frozen.retired) return;
    if (current === frozen) current = null;
    frozen.retired = true;
    if (frozen.copies === 0) await removal.discard(frozen.name);
  }

  async function replace(copier: TreeCopier, state: BaseState): Promise<void> {
    const old = current;
    try {
      const [commit, origin] = [commitOf(state), await originOf(state)];
      if (commit === null || commit.length === sha256Length || isAt(old, commit, origin)) return;
      const usable = old?.origin === origin ? old : null;
      current = await freeze(options, { state, origin, usable, copier }, closing);
      options.log.debug({ commit }, 'a clone is there to be copied');
    } catch (error) {
      // The old one may be the cause, so it goes as well.
      if (!closing.aborted) copiers.noteFailure(error, 'no clone could be made to copy from');
    }
    if (old !== null) await retire(old);
  }

  async function renew(state: BaseState): Promise<void> {
    const copier = copiers.get('later');
    if (copier === null || closing.aborted) return;
    renewing ??= replace(copier, state).finally(() => {
      renewing = null;
    });
    await renewing;
  }

  async function claimFor(state: BaseState) {
    const frozen = current;
    const [commit, origin] = [commitOf(state), await originOf(state)];
    const isFresh = isAt(frozen, commit, origin);
    if (!isFresh) void renew(state);
    if (frozen === null || frozen.retired || commit === null || frozen.origin !== origin) return null;
    if (!isFresh && !frozen.large) return null;
    frozen.copies += 1;
    return { frozen, isFresh };
  }

  async function release(frozen: Frozen): Promise<void> {
    frozen.copies -= 1;
    if (frozen.retired && frozen.copies === 0) await removal.discard(frozen.name);
  }

  return {
    claimFor,
    release,
    renew,
    retire,
    async forget() {
      await renewing;
      current = null;
    },
  };
}

function isAt(frozen: Frozen | null, commit: string | null, origin: string): boolean {
  return frozen !== null && frozen.commit === commit && frozen.origin === origin;
}

interface Freezing {
  readonly copier: TreeCopier;
  readonly state: BaseState;
  readonly origin: string;
  /** One of an older commit, to start from. */
  readonly usable: Frozen | null;
}

async function freeze(
  options: FrozenKeeperOptions,
  { state, origin, usable, copier }: Freezing,
  signal: AbortSignal,
): Promise<Frozen> {
  const { jobsDir, removal, taker } = options;
  const own = randomBytes(12).toString('hex');
  const place = { name: join(frozenName, own), path: join(jobsDir, frozenName, own), state };
  await makeDirectory(place.path);
  try {
    const snapshot = await fill(options, place, { usable, copier }, signal);
    await taker.forget(snapshot);
    if (snapshot.baseCommit === null) throw new Error('the base has lost its commit');
    const { size } = await stat(join(place.path, '.git', 'index'));
    const [commit, unlocked] = [snapshot.baseCommit, snapshot.protectedFiles.size > 0];
    return { ...place, origin, commit, unlocked, large: size >= largeIndexBytes, copies: 0, retired: false };
  } catch (error) {
    await removal.discard(place.name);
    throw error;
  }
}

async function fill(
  { prepareLater, gitLater }: FrozenKeeperOptions,
  place: Place,
  { usable, copier }: Pick<Freezing, 'usable' | 'copier'>,
  signal: AbortSignal,
): Promise<Snapshot> {
  if (usable === null || usable.unlocked || !usable.large) {
    const snapshot = await prepareLater.make(place, signal);
    await packObjects(gitLater, place.path, signal);
    return snapshot;
  }
  await copier.copy(usable.path, place.path, signal);
  return await prepareLater.bring(place, signal);
}

function commitOf({ branch, head }: BaseState): string | null {
  return branch === null ? null : head;
}

/** All but the commit that makes a clone what it is: a base made anew has another directory, a key put in its place another time. */
async function originOfState(
  { gitDir, originUrl, branch }: BaseState,
  { gitCryptKey: key, contents }: Pick<FrozenKeeperOptions, 'gitCryptKey' | 'contents'>,
): Promise<string> {
  const identity = async (path: string) =>
    await stat(path, { bigint: true }).then(
      ({ dev, ino, ctimeNs }) => ({ directory: `${dev} ${ino}`, file: `${dev} ${ino} ${ctimeNs}` }),
      () => null,
    );
  const [store, keyFile] = await Promise.all([identity(gitDir), identity(key)]);
  return JSON.stringify([store?.directory, keyFile?.file, originUrl, branch, contents.revision()]);
}
