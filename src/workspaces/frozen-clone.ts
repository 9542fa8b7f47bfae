import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { CloneMethod } from '../jobs/job.ts';
import type { Clock } from '../jobs/ports.ts';
import type { BaseState } from './base-repo.ts';
import type { Snapshot } from './change-taker.ts';
import { type Copiers, createCopiers, type Priority } from './copiers.ts';
import { createFrozenKeeper, type FrozenKeeper, type FrozenKeeperOptions, frozenName } from './frozen-keeper.ts';
import { identityOf } from './note-workspace.ts';
import { makeDirectory, type Place, type Preparation } from './preparation.ts';
import { momentOf } from './quick-changes.ts';
import { momentText } from './store-notes.ts';

/** A clone in which nobody ever works: copying it is quicker than cloning the base again. */
export interface FrozenClone {
  /**
   * The preparation, but with copies where a copy is the quicker way: of the frozen clone, brought to the newest commit if need
   * be. What is asked for by a ref is cloned. What was used is renewed by the frozen clone.
   */
  quicken(preparation: Preparation, priority: Priority): Preparation;
  /** Makes or replaces it where it is not of this state. One at a time, at low priority. Never rejects. */
  renew(state: BaseState): Promise<void>;
  /** Removes what a dead process left. */
  empty(): Promise<void>;
  /** From now on there is one, if there is a way to copy it. Rejects where a directory cannot be made. */
  begin(): Promise<void>;
  /** How clones are made. */
  method(): CloneMethod;
  close(): Promise<void>;
}

export interface FrozenCloneOptions extends Omit<FrozenKeeperOptions, 'copiers' | 'closing'> {
  /** Others in which trees are made and removed: made here, so that they are treated like ours. */
  readonly directories: readonly string[];
  /** The program that copies; the one beside the service by default. */
  readonly copier?: string | undefined;
  readonly clock: Clock;
}

export function createFrozenClone(options: FrozenCloneOptions): FrozenClone {
  const { jobsDir, removal } = options;
  const directory = join(jobsDir, frozenName);
  const closing = new AbortController();
  const copiers = createCopiers({ ...options, directories: [directory, jobsDir, ...options.directories] });
  const keeper = createFrozenKeeper({ ...options, copiers, closing: closing.signal });
  const means = { keeper, copiers, removal, log: options.log };
  return {
    quicken: (preparation, priority) => ({
      ...preparation,
      make: async (place, signal) =>
        (await copyInto(means, { place, preparation, priority }, signal)) ?? (await preparation.make(place, signal)),
      renew: async (place, used, signal) => await renewIn(means, { place, preparation, priority }, used, signal),
    }),
    renew: keeper.renew,
    async empty() {
      await keeper.forget();
      const names = await readdir(directory).catch(() => []);
      await Promise.all(names.map((name) => removal.discard(join(frozenName, name))));
    },
    begin: copiers.begin,
    method: copiers.method,
    async close() {
      closing.abort(new Error('the workspaces are closed'));
      await keeper.forget();
      await copiers.close();
    },
  };
}

interface Means extends Pick<FrozenCloneOptions, 'removal' | 'log'> {
  readonly keeper: FrozenKeeper;
  readonly copiers: Copiers;
}

interface Wanted {
  readonly place: Place;
  readonly preparation: Preparation;
  readonly priority: Priority;
}

/** Null if there is nothing to copy, or if copying is not the quicker way or failed; then the directory is empty. */
async function copyInto(
  { keeper, copiers, removal }: Means,
  { place, preparation, priority }: Wanted,
  signal: AbortSignal,
): Promise<Snapshot | null> {
  const copier = copiers.get(priority);
  if (copier === null || place.state.target !== null) return null;
  const claimed = await keeper.claimFor(place.state);
  if (claimed === null) return null;
  const { frozen, isFresh } = claimed;
  try {
    await copier.copy(frozen.path, place.path, signal);
    const snapshot = isFresh ? await preparation.note(place, frozen) : await preparation.bring(place, signal);
    copiers.noteSuccess();
    return snapshot;
  } catch (error) {
    signal.throwIfAborted();
    copiers.noteFailure(error, 'clone could not be copied, git makes it');
    await keeper.retire(frozen);
    await removal.discard(place.name);
    await makeDirectory(place.path);
    return null;
  } finally {
    await keeper.release(frozen);
  }
}

/** True if git alone made the clone: what came into it later is not known by its index. */
function isPlain({ baseCommit, filters, submodules, filled }: Snapshot): boolean {
  return baseCommit !== null && !filters && submodules.length === 0 && filled === undefined;
}

async function renewIn(
  { keeper, copiers, log }: Means,
  { place, preparation, priority }: Wanted,
  used: Snapshot,
  signal: AbortSignal,
): Promise<Snapshot | null> {
  const copier = copiers.get(priority);
  const claimed = copier !== null && isPlain(used) ? await keeper.claimFor(place.state) : null;
  if (copier === null || claimed === null) return null;
  const { frozen, isFresh } = claimed;
  try {
    const momentNs = await momentOf(used, place.path);
    if (!isFresh || frozen.unlocked || momentNs === null) return null;
    if ((await identityOf(place.path)) !== used.identity) throw new Error('its directory was replaced');
    const noted = { index: join(used.directory, 'index'), notes: [momentText(momentNs), ...used.store].join('\n') };
    await copier.renew(frozen.path, place.path, noted, signal);
    return await preparation.note(place, frozen);
  } catch (error) {
    signal.throwIfAborted();
    // What the job left is the reason, or a frozen clone that is none any more: then the next copy says so.
    log.debug({ err: error }, 'a used clone is not kept');
    return null;
  } finally {
    await keeper.release(frozen);
  }
}
