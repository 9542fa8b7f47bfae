import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { ChangeSummary } from '../jobs/change-set.ts';
import type { ChangeTakerOptions, Snapshot } from './change-taker.ts';
import { type Filled, type FilledSubmodule, readFilled } from './filled.ts';
import type { NotedLfsFile } from './lfs-changes.ts';
import { identityOf, keepIndex, openScratchRepo, pathsOf } from './note-workspace.ts';
import { attributesFile, stateOf } from './protected-files.ts';
import { submoduleMode } from './submodules.ts';

/** A submodule in a workspace, as it was before an agent ran. */
export interface NotedSubmodule extends FilledSubmodule {
  /** Of its directory: what stands in its place later may be another. */
  readonly identity: string;
  /** Holds its index, and git directories of the service's own. */
  readonly directory: string;
  /** False if no attributes of it can speak of a filter. */
  readonly filters: boolean;
  /** The places in it that are submodules as well. Paths are bytes, one character each. */
  readonly submodules: readonly string[];
}

/** What the service knows of what it put into a workspace. */
export interface FilledNotes extends Pick<Filled, 'leftOut' | 'revision'> {
  readonly submodules: readonly NotedSubmodule[];
  readonly lfs: readonly NotedLfsFile[];
}

/** The snapshot of a workspace in which nobody has worked yet, and what was filled into it. */
export async function withFilled(
  options: Pick<ChangeTakerOptions, 'scratchDir' | 'path'>,
  workTree: string,
  snapshot: Snapshot,
): Promise<Snapshot> {
  const filled = await readFilled(workTree);
  if (filled === null || filled.commit !== snapshot.baseCommit) return snapshot;
  const submodules: NotedSubmodule[] = [];
  for (const submodule of filled.submodules) {
    const directory = join(snapshot.directory, `submodule-${submodules.length}`);
    submodules.push(await noteSubmodule(options, workTree, { ...submodule, directory }));
  }
  const lfs: NotedLfsFile[] = [];
  for (const file of filled.lfs) lfs.push({ ...file, state: await stateOf(workTree, file.path) });
  return { ...snapshot, filled: { leftOut: filled.leftOut, revision: filled.revision, submodules, lfs } };
}

async function noteSubmodule(
  options: Pick<ChangeTakerOptions, 'path'>,
  clone: string,
  submodule: FilledSubmodule & { readonly directory: string },
): Promise<NotedSubmodule> {
  const { path, gitDir, directory, commit, objects } = submodule;
  const workTree = join(clone, path);
  await mkdir(directory, { mode: 0o700 });
  await keepIndex(join(clone, gitDir, 'index'), directory);
  const index = await readFile(join(directory, 'index'));
  const noted = { ...submodule, identity: await identityOf(workTree), filters: index.includes(attributesFile) };
  const repo = await openScratchRepo(options, workTree, { directory, baseCommit: commit, objects }, 'note');
  // In a copy its times are those of the clone that it was copied from. Here nobody waits for git to read all files.
  await repo.run(['update-index', '-q', '--refresh']);
  await keepIndex(join(repo.gitDir, 'index'), directory);
  return { ...noted, submodules: index.includes(submoduleMode) ? (await pathsOf(repo)).submodules : [] };
}

export function submodulesOf({ filled }: Pick<Snapshot, 'filled'>): readonly NotedSubmodule[] {
  return filled?.submodules ?? [];
}

/** What git itself must know of the base: submodules that are there are looked at one by one. */
export function ownOf(snapshot: Snapshot): Pick<Snapshot, 'submodules'> & Pick<FilledNotes, 'lfs'> {
  const inside = new Set(submodulesOf(snapshot).map(({ path }) => bytesOf(path)));
  return { submodules: snapshot.submodules.filter((path) => !inside.has(path)), lfs: snapshot.filled?.lfs ?? [] };
}

export function leftOutOf({ filled }: Snapshot): Pick<ChangeSummary, 'leftOut'> {
  return filled === undefined || filled.leftOut.length === 0 ? {} : { leftOut: filled.leftOut };
}

/** Each byte as a character of its own. */
export const bytesOf = (text: string): string => Buffer.from(text).toString('latin1');
