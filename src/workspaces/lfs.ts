import { constants } from 'node:fs';
import {
  access,
  appendFile,
  chmod,
  copyFile,
  lstat,
  mkdir,
  readFile,
  rename,
  utimes,
  writeFile,
} from 'node:fs/promises';
import { delimiter, join } from 'node:path';
import type { LeftOut } from '../jobs/change-set.ts';
import type { Log } from '../jobs/ports.ts';
import { type Attempts, Refusal } from './attempts.ts';
import type { BaseState } from './base-repo.ts';
import { quoted } from './clone.ts';
import type { Filled, LfsFile } from './filled.ts';
import type { Git } from './git.ts';
import { noteInIndex } from './index-times.ts';
import { isPointer } from './left-out.ts';
import { pointersIn } from './lfs-pointers.ts';
import { asText } from './stage-changes.ts';

/** The content of large files, which the repository has only pointers to. */
export interface Lfs {
  /** Puts it in the place of the pointers, as far as it can be had. Rejects with the signal's reason, or with what the disk says. */
  fill(
    clone: { readonly path: string; readonly state: BaseState },
    commit: string,
    signal: AbortSignal,
  ): Promise<Pick<Filled, 'lfs' | 'leftOut' | 'submodules'>>;
  /** What is missing, a sentence for an operator; null if nothing is. */
  check(): Promise<string | null>;
}

export interface LfsOptions {
  readonly git: Git;
  /** What git sees of the environment. */
  readonly env: Readonly<Record<string, string>>;
  readonly attempts: Attempts;
  readonly scratchDir: string;
  readonly log: Log;
}

/** Gigabytes over a slow line; what is had by then is used, and the rest is tried again. */
const fetchTimeoutMs = 600_000;
/**
 * How old a file is said to be that was just made: git reads each file again that is as new as its index, and would find
 * content where it has a pointer.
 */
const ageSeconds = 10;
const notInstalled = 'git-lfs is not installed';
/** What git of these settings does: no filter, whatever the operator's own configuration says. */
export const withoutFilter = ['process=', 'clean=', 'smudge=', 'required=false'].map((value) => `filter.lfs.${value}`);
/** As `git lfs install --local --skip-smudge` has it: a commit of the agent holds pointers, and nothing is fetched. */
const filterSection = [
  '[filter "lfs"]',
  '\tclean = git-lfs clean -- %f',
  '\tsmudge = git-lfs smudge --skip -- %f',
  '\tprocess = git-lfs filter-process --skip',
  '\trequired = true',
  '',
].join('\n');

export function createLfs(options: LfsOptions): Lfs {
  const { env, scratchDir, log } = options;
  const path = env['PATH'] ?? '/usr/bin:/bin';
  return {
    async fill({ path: clone, state }, commit, signal) {
      const objects = join(state.gitDir, 'objects');
      const pointers = await pointersIn({ clone, commit, objects, scratchDir, path });
      if (pointers.length === 0) return { lfs: [], leftOut: [], submodules: [] };
      const reason = await fetchMissing(options, { state, commit, pointers, path }, signal);
      const { lfs, leftOut } = await placeAll(clone, pointers, { store: storeOf(state), reason });
      if (lfs.length > 0) await introduce(clone);
      if (leftOut.length > 0) log.warn({ files: leftOut.length, reason }, 'files of LFS are left as pointers');
      return { lfs, leftOut, submodules: [] };
    },
    check: async () =>
      (await isInstalled(path)) ? null : 'LFS is true, but git-lfs is not installed: install it where PATH finds it',
  };
}

const storeOf = ({ gitDir }: BaseState): string => join(gitDir, 'lfs', 'objects');
const objectIn = (store: string, oid: string): string => join(store, oid.slice(0, 2), oid.slice(2, 4), oid);

interface Fetching {
  readonly state: BaseState;
  readonly commit: string;
  readonly pointers: readonly LfsFile[];
  readonly path: string;
}

/** Why the store of the base has not all of it now; null if it has. */
async function fetchMissing(
  { git, attempts }: LfsOptions,
  { state, commit, pointers, path }: Fetching,
  signal: AbortSignal,
): Promise<string | null> {
  if (!(await lacksAny(storeOf(state), pointers))) return null;
  if (!(await isInstalled(path))) return notInstalled;
  const fetch = async (until: AbortSignal) => {
    if (state.originUrl === null) throw new Refusal('the base has no remote to have it from');
    const cwd = await makeFetcher(state, state.originUrl);
    const args = ['lfs', 'fetch', 'origin', commit];
    await git({ cwd, args, transport: state.transport, timeoutMs: fetchTimeoutMs, signal: until });
    if (await lacksAny(storeOf(state), pointers)) throw new Refusal('the remote does not have it');
  };
  return await attempts.need(`lfs ${commit}`, fetch, signal);
}

async function lacksAny(store: string, pointers: readonly LfsFile[]): Promise<boolean> {
  for (const pointer of pointers) if (!(await hasContent(store, pointer))) return true;
  return false;
}

async function hasContent(store: string, { oid, size }: LfsFile): Promise<boolean> {
  if (size === 0) return true;
  const stats = await lstat(objectIn(store, oid)).catch(() => null);
  return stats?.isFile() === true && stats.size === size;
}

/**
 * A repository of its own over the objects of the base: git-lfs finds no `.lfsconfig` there, with which whoever can commit
 * could send it elsewhere, together with the operator's password.
 */
async function makeFetcher({ gitDir }: BaseState, originUrl: string): Promise<string> {
  const fetcher = join(gitDir, 'agent-service', 'lfs');
  await mkdir(join(fetcher, 'objects', 'info'), { recursive: true, mode: 0o700 });
  await mkdir(join(fetcher, 'refs'), { recursive: true });
  await writeFile(join(fetcher, 'objects', 'info', 'alternates'), `${join(gitDir, 'objects')}\n`);
  const settings = [
    '[core]\n\trepositoryformatversion = 0\n\tbare = true',
    `[remote "origin"]\n\turl = ${quoted(originUrl)}\n\tfetch = +refs/heads/*:refs/heads/*`,
    `[lfs]\n\tstorage = ${quoted(join(gitDir, 'lfs'))}`,
  ];
  await writeFile(join(fetcher, 'config'), `${settings.join('\n')}\n`, { mode: 0o600 });
  await writeFile(join(fetcher, 'HEAD'), 'ref: refs/heads/none\n');
  return fetcher;
}

async function placeAll(
  clone: string,
  pointers: readonly LfsFile[],
  { store, reason }: { readonly store: string; readonly reason: string | null },
): Promise<Pick<Filled, 'lfs' | 'leftOut'>> {
  const lfs: LfsFile[] = [];
  const leftOut: LeftOut[] = [];
  const written = new Set<string>();
  for (const pointer of pointers) {
    const file = join(clone, pointer.path);
    // Of an earlier commit in the same clone, and still the same.
    if (!(await isPointer(file))) lfs.push(pointer);
    else if (await hasContent(store, pointer)) {
      await place(clone, file, objectIn(store, pointer.oid), pointer.size);
      written.add(pointer.path);
      lfs.push(pointer);
    } else {
      leftOut.push({ path: asText(pointer.path), kind: 'lfs', reason: reason ?? 'the remote does not have it' });
    }
  }
  if (written.size > 0) await noteInIndex(clone, written);
  return { lfs, leftOut };
}

/** Through a rename: what is in the place of the file is never written through. */
async function place(clone: string, file: string, object: string, size: number): Promise<void> {
  const partial = join(clone, '.git', 'agent-service.partial');
  const target = Buffer.from(file, 'latin1');
  const { mode } = await lstat(target);
  if (size === 0) await writeFile(partial, '');
  else await copyFile(object, partial, constants.COPYFILE_FICLONE);
  await chmod(partial, mode & 0o777);
  const second = Math.floor(Date.now() / 1000) - ageSeconds;
  await utimes(partial, second, second);
  await rename(partial, target);
}

async function introduce(clone: string): Promise<void> {
  const file = join(clone, '.git', 'config');
  if (!(await readFile(file, 'utf8')).includes('[filter "lfs"]')) await appendFile(file, filterSection);
}

/** Where git looks for what is no command of its own. */
async function isInstalled(path: string): Promise<boolean> {
  for (const directory of path.split(delimiter)) {
    const found = await access(join(directory, 'git-lfs'), constants.X_OK).then(
      () => true,
      () => false,
    );
    if (found) return true;
  }
  return false;
}
