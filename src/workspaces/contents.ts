import { join } from 'node:path';
import type { LeftOut } from '../jobs/change-set.ts';
import type { Clock, Log } from '../jobs/ports.ts';
import { readSmallFile } from './agent-commits.ts';
import { createAttempts } from './attempts.ts';
import type { BaseState } from './base-repo.ts';
import { type Filled, forgetFilled, readFilled, writeFilled } from './filled.ts';
import { createGit, type Git, type GitDeps } from './git.ts';
import { createLfs } from './lfs.ts';
import { attributesFile } from './protected-files.ts';
import { createMirrors } from './submodule-mirrors.ts';
import { clearSubmodules, fillSubmodules } from './submodules.ts';

/** What a clone of the base alone lacks: the files of submodules and the content of LFS, as far as they are switched on. */
export interface Contents {
  /**
   * Puts it into a clone in which nobody has worked, at its commit. What cannot be had is left out, and noted in the clone.
   * Rejects with the signal's reason, and where the clone cannot be read or written.
   */
  complete(clone: ClonePlace, commit: string | null, signal: AbortSignal): Promise<void>;
  /** Takes out again what would be in the way of going to another commit. */
  clear(path: string): Promise<void>;
  /** Grows when something can be had that could not be had before: then clones that lack something are out of date. */
  revision(): number;
  /** What the operator switched on and does not work, a sentence; null if all does. */
  check(): Promise<string | null>;
  close(): void;
}

interface ClonePlace {
  readonly path: string;
  readonly state: BaseState;
  /** For the work in the clone, at the priority of whoever waits for it. */
  readonly git: Git;
}

export interface ContentsSettings {
  /** Whether workspaces hold the submodules of the base. */
  readonly submodules?: boolean;
  /** Whether they hold the content of LFS files. */
  readonly lfs?: boolean;
  /** How long after a failure what they need is fetched again; a minute by default. */
  readonly refetchMs?: number;
}

interface ContentsOptions extends ContentsSettings {
  readonly git: GitDeps;
  /** Where directories of the service's own may be made for a moment. */
  readonly scratchDir: string;
  readonly log: Log;
  readonly clock: Clock;
}

/** Gives a password to whoever asks: to hosts that somebody else chose it is not given. */
const passwordVariables = ['GIT_ASKPASS', 'SSH_ASKPASS'];

const defaultRefetchMs = 60_000;
/** Longer than any that people write. */
const maxAttributesBytes = 65_536;
/** How many a job is told of; the log has all. */
const maxLeftOut = 20;

/** Nothing at all is done where nothing is switched on. */
export function createContents(options: ContentsOptions): Contents {
  const { submodules = false, lfs: withLfs = false, log, clock } = options;
  if (!submodules && !withLfs) return nothing;
  const attempts = createAttempts({ log, clock, retryMs: options.refetchMs ?? defaultRefetchMs });
  const baseGit = createGit(options.git);
  const foreignGit = createGit({ ...options.git, env: withoutPasswords(options.git.env) });
  const lfs = withLfs ? createLfs({ ...options, git: baseGit, attempts, env: options.git.env }) : null;

  return {
    async complete({ path, state, git }, commit, signal) {
      if (commit === null) return;
      const before = await readFilled(path);
      const revision = attempts.revision();
      if (before?.commit === commit && isWhole(before, revision)) return;
      if (before !== null) await clearSubmodules(path, before);
      const inSubmodules = submodules ? await fillIn({ path, state, git }, signal) : none;
      const inLfs = (await lfs?.fill({ path, state }, commit, signal)) ?? none;
      const pointers = lfs === null ? [] : await pointersInside(path, inSubmodules.submodules);
      const leftOut = [...inSubmodules.leftOut, ...inLfs.leftOut, ...pointers].slice(0, maxLeftOut);
      const filled = { commit, submodules: inSubmodules.submodules, lfs: inLfs.lfs, leftOut, revision };
      if (filled.submodules.length + filled.lfs.length + leftOut.length === 0) await forgetFilled(path);
      else await writeFilled(path, filled);
    },
    async clear(path) {
      const before = await readFilled(path);
      if (before === null) return;
      await clearSubmodules(path, before);
      await forgetFilled(path);
    },
    revision: attempts.revision,
    check: async () => (await lfs?.check()) ?? null,
    close: attempts.close,
  };

  async function fillIn({ path, state, git }: ClonePlace, signal: AbortSignal) {
    const { originUrl, gitDir, path: basePath } = state;
    const mirrors = createMirrors({ gitDir, git: baseGit, foreignGit, attempts });
    const origin = { baseUrl: originUrl ?? basePath, hasRemote: originUrl !== null };
    return await fillSubmodules({ git, mirrors, ...origin, log }, path, signal);
  }
}

/** Submodules keep their large files in stores of their own, at other addresses: those are not asked. */
async function pointersInside(clone: string, submodules: Filled['submodules']): Promise<readonly LeftOut[]> {
  const reason = 'files of LFS inside a submodule stay pointers';
  const leftOut: LeftOut[] = [];
  for (const { path } of submodules) {
    const attributes = await readSmallFile(join(clone, path, attributesFile), maxAttributesBytes);
    if (attributes !== null && /\bfilter=lfs\b/.test(attributes)) leftOut.push({ path, kind: 'lfs', reason });
  }
  return leftOut;
}

const none = { submodules: [], lfs: [], leftOut: [] } as const;

const nothing: Contents = {
  complete: async () => {},
  clear: async () => {},
  revision: () => 0,
  check: async () => null,
  close: () => {},
};

/** True if what was left out then cannot be had now either. */
export function isWhole({ leftOut, revision }: Pick<Filled, 'leftOut' | 'revision'>, now: number): boolean {
  return leftOut.length === 0 || revision === now;
}

function withoutPasswords(env: Readonly<Record<string, string>>): Readonly<Record<string, string>> {
  return Object.fromEntries(Object.entries(env).filter(([name]) => !passwordVariables.includes(name)));
}
