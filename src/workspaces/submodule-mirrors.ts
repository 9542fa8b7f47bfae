import { createHash } from 'node:crypto';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { removeTree } from '../process/remove-tree.ts';
import type { Attempts } from './attempts.ts';
import { Refusal } from './attempts.ts';
import { type Git, GitError } from './git.ts';
import { readRef } from './read-ref.ts';
import type { Address } from './submodule-address.ts';

/** What the service itself has of the repositories that are submodules of the base: one beside the base for each address. */
export interface Mirrors {
  /** The directory of the objects of one that has the commit, or why there is none. Rejects only with the signal's reason. */
  find(address: Address, commit: string, signal: AbortSignal): Promise<Mirror | string>;
  /** Forgets one that turned out to be damaged: it is fetched anew. */
  drop(mirror: Mirror): Promise<void>;
}

export interface Mirror {
  readonly path: string;
  readonly objects: string;
}

interface MirrorsDeps {
  /** Of the base. */
  readonly gitDir: string;
  readonly git: Git;
  /** For hosts that the password of the base's remote is not for. */
  readonly foreignGit: Git;
  readonly attempts: Attempts;
}

/** The first fetch brings a whole history; what takes longer is tried again while jobs run without it. */
const fetchTimeoutMs = 120_000;
const localTimeoutMs = 60_000;
const config = '[core]\n\trepositoryformatversion = 0\n\tfilemode = true\n\tbare = true\n';

export function createMirrors({ gitDir, git, foreignGit, attempts }: MirrorsDeps): Mirrors {
  return {
    async find(address, commit, signal) {
      const name = createHash('sha256').update(address.url).digest('hex').slice(0, 40);
      const path = join(gitDir, 'agent-service', 'submodules', name);
      const mirror = { path, objects: join(path, 'objects') };
      if ((await readRef(path, pinOf(commit))) !== null) return mirror;
      const work = async (until: AbortSignal) =>
        await fetchCommit(address.isForeign ? foreignGit : git, { ...address, path, commit }, until);
      // The name is all that the log may know of an address: it may hold a password.
      return (await attempts.need(`submodule ${name} ${commit}`, work, signal)) ?? mirror;
    },
    drop: async ({ path }) => void (await removeTree(path)),
  };
}

/** Keeps a commit in reach: nothing else in a mirror has a name. */
const pinOf = (commit: string): string => `refs/pins/${commit}`;

interface Wanted extends Address {
  readonly path: string;
  readonly commit: string;
}

async function fetchCommit(git: Git, { path, commit, url, transport }: Wanted, signal: AbortSignal): Promise<void> {
  await makeMirror(path);
  const fetch = async (...refspecs: readonly string[]) => {
    const how = ['--no-tags', '--no-write-fetch-head', '--no-recurse-submodules'];
    const args = ['fetch', ...how, '--', url, ...refspecs];
    await git({ cwd: path, args, transport, timeoutMs: fetchTimeoutMs, signal });
  };
  try {
    await fetch(`+${commit}:${pinOf(commit)}`);
  } catch (error) {
    const isRefused = error instanceof GitError && (error.failure === 'failed' || error.failure === 'no_branch');
    if (!isRefused) throw error;
    // Some servers give no commit by its id, or have it on no branch any more.
    await fetch('+refs/heads/*:refs/heads/*', '+refs/tags/*:refs/tags/*');
    await pin(git, path, commit, signal);
  }
}

async function pin(git: Git, path: string, commit: string, signal: AbortSignal): Promise<void> {
  const run = async (...args: readonly string[]) => await git({ cwd: path, args, timeoutMs: localTimeoutMs, signal });
  try {
    await run('rev-parse', '--verify', '--quiet', '--end-of-options', `${commit}^{commit}`);
  } catch (cause) {
    signal.throwIfAborted();
    throw new Refusal('the remote has no such commit', { cause });
  }
  await run('update-ref', pinOf(commit), commit);
}

/** By hand: no template, no process. */
async function makeMirror(path: string): Promise<void> {
  for (const name of [
    ['objects', 'info'],
    ['objects', 'pack'],
    ['refs', 'heads'],
    ['refs', 'pins'],
  ]) {
    await mkdir(join(path, ...name), { recursive: true, mode: 0o700 });
  }
  await writeFile(join(path, 'config'), config);
  await writeFile(join(path, 'HEAD'), 'ref: refs/heads/none\n');
}
