import { mkdir } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { WorkspaceError } from '../jobs/errors.ts';
import type { Log } from '../jobs/ports.ts';
import type { BaseRepo, BaseState } from './base-repo.ts';
import type { ChangeTaker, Snapshot } from './change-taker.ts';
import { cloneBase, headOf, updateClone } from './clone.ts';
import type { Contents } from './contents.ts';
import { type Git, GitError } from './git.ts';
import { unlock } from './git-crypt.ts';
import type { Removal } from './removal.ts';

interface PreparationDeps {
  readonly git: Git;
  readonly base: BaseRepo;
  readonly removal: Removal;
  readonly taker: ChangeTaker;
  readonly contents: Contents;
  readonly gitCryptKey: string;
  readonly gitEnv: Readonly<Record<string, string>>;
  readonly log: Log;
}

export interface Place {
  /** The directory inside JOBS_DIR, which is there and empty. */
  readonly name: string;
  readonly path: string;
  readonly state: BaseState;
}

/** All reject with anything; then the directory is the caller's to remove. */
export interface Preparation {
  /** Fills the empty directory with a clone that an agent can be let into. */
  make(place: Place, signal: AbortSignal): Promise<Snapshot>;
  /** Brings a clone in which nobody has worked to the commit of the base. */
  bring(place: Place, signal: AbortSignal): Promise<Snapshot>;
  /**
   * Makes a clone that a job has used what `make` would have made, but for what of it nobody has touched. Null where nothing
   * is kept: then the directory is the caller's to remove, too.
   */
  renew(place: Place, used: Snapshot, signal: AbortSignal): Promise<Snapshot | null>;
  /** Notes the state of a clone that is as it should be, at the commit, `unlocked` where files of it were decrypted. */
  note(place: Place, state: { readonly commit: string; readonly unlocked: boolean }): Promise<Snapshot>;
}

/** A clone that stumbled over a fetch is made again this often: a third collision in a row is something else. */
const cloneAttempts = 3;

export function createPreparation(deps: PreparationDeps): Preparation {
  return {
    async make(place, signal) {
      await cloneSteadily(deps, place, signal);
      return await finish(deps, place, signal);
    },
    async bring(place, signal) {
      await deps.contents.clear(place.path);
      try {
        await updateClone(deps.git, place.state, place.path, signal);
      } catch (error) {
        // The clone is given up; the next one is made from a base that is whole.
        if (error instanceof GitError && !signal.aborted) void deps.base.repair(signal).catch(() => false);
        throw error;
      }
      return await finish(deps, place, signal);
    },
    // Only what is copied is known so well.
    renew: async () => null,
    note: ({ path, state }, { commit, unlocked }) =>
      deps.taker.note(path, { baseCommit: commit, unlocked, objects: join(state.gitDir, 'objects') }),
  };
}

/** What is left to do in a checkout: decrypt it, and note its state. */
async function finish(deps: PreparationDeps, { path, state }: Place, signal: AbortSignal): Promise<Snapshot> {
  const unlocked = await unlock({ path, keyFile: resolve(deps.gitCryptKey), gitEnv: deps.gitEnv }, signal);
  const baseCommit = await headOf(deps.git, path, signal);
  await deps.contents.complete({ path, state, git: deps.git }, baseCommit, signal);
  return await deps.taker.note(path, { baseCommit, unlocked, objects: join(state.gitDir, 'objects') });
}

/** A clone reads the base while a fetch may be renaming files in it: if both met, the clone is made again. */
async function cloneSteadily(deps: PreparationDeps, { name, path, state }: Place, signal: AbortSignal): Promise<void> {
  const { base, git, log, removal } = deps;
  for (let attempt = 1; ; attempt += 1) {
    const epoch = base.epoch();
    try {
      return await cloneBase(git, state, path, signal);
    } catch (error) {
      const calm = base.epoch() === epoch && epoch % 2 === 0;
      if (attempt === cloneAttempts || !(error instanceof GitError) || signal.aborted) throw error;
      if (calm && !(await base.repair(signal))) throw error;
      log.warn({ workspace: name, attempt, err: error }, 'clone met a change of the base, trying again');
      await removal.discard(name);
      await makeDirectory(path);
    }
  }
}

/** Fails if it is there: what is in it belongs to somebody else, and must not be taken for a failed clone. */
export async function makeDirectory(path: string): Promise<void> {
  try {
    await mkdir(path, { mode: 0o700 });
  } catch (error) {
    throw new WorkspaceError('The workspace could not be made in JOBS_DIR', { cause: error });
  }
}
