import { randomBytes } from 'node:crypto';
import { copyFile, link, lstat, mkdir, readFile, stat, utimes } from 'node:fs/promises';
import { join } from 'node:path';
import type { ChangeTakerOptions, Snapshot, Start } from './change-taker.ts';
import { attributesFile, noteProtectedFiles, speaksOfFilters } from './protected-files.ts';
import { makeScratchRepo, type ScratchRepo } from './scratch-repo.ts';
import { pathsByFilter, split } from './stage-changes.ts';
import { noteStore } from './store-notes.ts';
import { submoduleMode } from './submodules.ts';

interface Options extends Pick<ChangeTakerOptions, 'scratchDir' | 'path'> {
  /** What was found out of commits lately: it is the same in each of their clones. */
  readonly known: Map<string, CommitFacts>;
}

export type CommitFacts = Pick<Snapshot, 'submodules' | 'filters'>;

/** A base that moves quickly, and jobs that ask for other refs. */
const maxKnown = 32;

/** Notes the state of a workspace in which nobody has worked yet. */
export async function noteWorkspace(options: Options, workTree: string, start: Start): Promise<Snapshot> {
  const { baseCommit, objects, unlocked } = start;
  const directory = join(options.scratchDir, randomBytes(12).toString('hex'));
  await mkdir(directory, { recursive: true, mode: 0o700 });
  const indexSecond = baseCommit === null ? 0 : await keepIndex(join(workTree, '.git', 'index'), directory);
  const snapshot: Snapshot = {
    ...{ baseCommit, objects, directory, indexSecond, identity: await identityOf(workTree) },
    ...{ protectedFiles: new Map(), filters: unlocked, submodules: [], store: await noteStore(workTree) },
  };
  if (baseCommit === null) return snapshot;
  if (unlocked) return { ...snapshot, ...(await noteUnlocked(options, workTree, snapshot)) };
  const facts = options.known.get(baseCommit) ?? (await factsOf(options, workTree, snapshot));
  options.known.set(baseCommit, facts);
  const oldest = options.known.keys().next();
  if (options.known.size > maxKnown && oldest.done !== true) options.known.delete(oldest.value);
  return { ...snapshot, ...facts };
}

async function factsOf(options: Options, workTree: string, snapshot: Snapshot): Promise<CommitFacts> {
  const index = await readFile(join(snapshot.directory, 'index'));
  if (!index.includes(attributesFile) && !index.includes(submoduleMode)) return { submodules: [], filters: false };
  const { paths, submodules } = await pathsOf(await openScratchRepo(options, workTree, snapshot, 'note'));
  return { submodules, filters: await speaksOfFilters(workTree, paths) };
}

async function noteUnlocked(options: Options, workTree: string, snapshot: Snapshot) {
  const repo = await openScratchRepo(options, workTree, snapshot, 'note');
  const { paths, submodules } = await pathsOf(repo);
  const input = Buffer.from(paths.map((path) => `${path}\0`).join(''), 'latin1');
  const encrypted = pathsByFilter(await repo.run(['check-attr', '-z', '--stdin', '--cached', 'filter'], { input }));
  return { submodules, protectedFiles: await noteProtectedFiles(workTree, encrypted('git-crypt')) };
}

/** All that the index has, and where it has other repositories. */
export async function pathsOf(repo: ScratchRepo) {
  const entries = split(await repo.run(['ls-files', '--stage', '-z']));
  const paths = entries.map((entry) => entry.slice(entry.indexOf('\t') + 1));
  return { paths, submodules: paths.filter((_, at) => entries[at]?.startsWith('160000 ')) };
}

/** Answers the second in which it was written. */
export async function keepIndex(index: string, directory: string): Promise<number> {
  const second = Math.floor((await stat(index)).mtimeMs / 1000);
  await copyFile(index, join(directory, 'index'));
  // Its time tells git which entries it cannot trust by their times alone; rounded down, those are rather more.
  await utimes(join(directory, 'index'), second, second);
  return second;
}

/** A git directory of our own, its name begins with `name`, that knows of the workspace what was noted. */
export async function openScratchRepo(
  { path }: Pick<ChangeTakerOptions, 'path'>,
  workTree: string,
  { directory, baseCommit, objects }: Pick<Snapshot, 'directory' | 'baseCommit' | 'objects'>,
  name: string,
): Promise<ScratchRepo> {
  // What a process that died has left of the same name is in nobody's way.
  const gitDir = join(directory, `${name}-${randomBytes(4).toString('hex')}`);
  const repo = await makeScratchRepo({ gitDir, workTree, objects, baseCommit, path });
  if (baseCommit === null) return repo;
  // Git writes a new file in the place of an index: what was noted stays as it is, and so does its time.
  await link(join(directory, 'index'), join(gitDir, 'index'));
  return repo;
}

export async function identityOf(path: string): Promise<string> {
  const stats = await lstat(path, { bigint: true });
  return stats.isDirectory() ? `${stats.dev} ${stats.ino}` : 'no directory';
}
