import { randomBytes } from 'node:crypto';
import { lstat, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { Snapshot } from './change-taker.ts';
import { patchFile } from './kept-changes.ts';
import { attributesFile } from './protected-files.ts';
import { makeScratchRepo, type ScratchRepo } from './scratch-repo.ts';
import { writeSmallIndex } from './small-index.ts';
import { type StageLimits, split } from './stage-changes.ts';
import type { Findings, TreeScanner } from './tree-scanner.ts';
import { type TreeChanges, writePatch } from './write-patch.ts';

/** Written when the workspace was given to a job, after all else that the service did in it. */
export const ownerFile = 'job.json';

interface QuickChanges {
  readonly scanner: TreeScanner;
  readonly workTree: string;
  readonly snapshot: Snapshot;
  /** For the patch. */
  readonly directory: string;
  readonly limits: StageLimits;
  /** PATH for git. */
  readonly path: string;
}

const sha1Length = 40;
/** Far below what an argument list may hold. */
const maxArgumentBytes = 32 * 1024;
/** As many as the scanner tells of in a tree. */
const maxAdded = 500;
const nothing: TreeChanges = {
  ...{ filesChanged: 0, insertions: 0, deletions: 0, patchBytes: 0, files: [] },
  ...{ truncated: false, problem: null },
};

/**
 * The same answer as from an index that is staged and compared with the base commit, where little has changed and nothing is
 * left out: no git process reads the index of the whole tree. Null in any doubt; then nothing is worth keeping of what was
 * written. Rejects with anything, which is a doubt as well.
 */
export async function takeQuickly(quick: QuickChanges, signal: AbortSignal): Promise<TreeChanges | null> {
  const { scanner, workTree, snapshot } = quick;
  if (snapshot.baseCommit?.length !== sha1Length || snapshot.filters || snapshot.submodules.length > 0) return null;
  const momentNs = await momentOf(snapshot, workTree);
  if (momentNs === null) return null;
  const found = await scanner.scan({ index: join(snapshot.directory, 'index'), workTree, momentNs }, signal);
  if (found === null) return null;
  if (found.suspects.length + found.others.length === 0) return nothing;
  const gitDir = join(snapshot.directory, `read-${randomBytes(4).toString('hex')}`);
  const { objects, baseCommit } = snapshot;
  const repo = await makeScratchRepo({ gitDir, workTree, objects, baseCommit, path: quick.path, readsOnly: true });
  const added = await addedAmong(repo, found, signal);
  if (added === null || !(await arePlain(quick, found, added))) return null;
  if (found.suspects.length + added.length === 0) return nothing;
  return await compare(quick, { repo, found, added }, signal);
}

/** When the job got the workspace, by the clock that its files have their times from; null if that is another one's. */
export async function momentOf({ directory }: Snapshot, workTree: string): Promise<bigint | null> {
  const [owner, tree] = await Promise.all([
    stat(join(directory, ownerFile), { bigint: true }).catch(() => null), // Given to no job: then nobody knows since when.
    lstat(workTree, { bigint: true }),
  ]);
  return owner?.dev === tree.dev ? owner.ctimeNs : null;
}

/** Those of the others that no `.gitignore` leaves out, with what is in directories. */
async function addedAmong(
  repo: ScratchRepo,
  { others, neighbours }: Findings,
  signal: AbortSignal,
): Promise<readonly string[] | null> {
  if (others.length === 0) return [];
  const paths = others.map(asArgument);
  if (paths.includes(null) || paths.join(' ').length > maxArgumentBytes) return null;
  const index = join(repo.gitDir, 'index-of-neighbours');
  await writeSmallIndex(index, neighbours, []);
  const args = ['ls-files', '--others', '--exclude-standard', '-z', '--', ...paths.filter((path) => path !== null)];
  const added = split(await repo.run(args, { index, signal }));
  return added.length <= maxAdded && added.every(isOrdinary) ? added : null;
}

/** Null if it cannot be an argument: those are text. */
function asArgument(path: string): string | null {
  const text = Buffer.from(path, 'latin1').toString('utf8');
  return Buffer.from(text).toString('latin1') === path ? text : null;
}

/** False for repositories, and for names that git may refuse to stage. */
function isOrdinary(path: string): boolean {
  if (path.endsWith('/') || path.includes('\\')) return false;
  return path.split('/').every((name) => !/^(?:\.git|git~)/i.test(name) || /^\.git(?:ignore|keep|hub)$/.test(name));
}

/** True if all of it would be staged: files and links, not too large, and no attributes that may say else. */
async function arePlain(
  { workTree, limits }: QuickChanges,
  { suspects }: Findings,
  added: readonly string[],
): Promise<boolean> {
  const paths = [...suspects.map((entry) => entry.path), ...added];
  if (paths.some((path) => path === attributesFile || path.endsWith(`/${attributesFile}`))) return false;
  const sizes = await Promise.all(paths.map((path) => sizeOf(Buffer.from(join(workTree, path), 'latin1'))));
  const bytes = sizes.reduce<number>((sum, size) => sum + (size ?? Number.POSITIVE_INFINITY), 0);
  const largest = Math.max(0, ...sizes.map(Number));
  return largest <= limits.maxFileBytes && bytes <= limits.maxTotalBytes && paths.length <= limits.maxFiles;
}

/** 0 if it is gone; null if it is neither a file nor a link. Git says which of them it cannot read. */
async function sizeOf(file: Buffer): Promise<number | null> {
  try {
    const stats = await lstat(file);
    return stats.isFile() || stats.isSymbolicLink() ? stats.size : null;
  } catch (error) {
    return error instanceof Error && 'code' in error && error.code === 'ENOENT' ? 0 : null;
  }
}

interface Comparing {
  readonly repo: ScratchRepo;
  readonly found: Findings;
  readonly added: readonly string[];
}

/** The suspects as they were, and the files to come, against the work tree. */
async function compare(
  { directory }: QuickChanges,
  { repo, found, added }: Comparing,
  signal: AbortSignal,
): Promise<TreeChanges> {
  const index = join(repo.gitDir, 'index-of-suspects');
  await writeSmallIndex(index, found.suspects, added);
  const comparison = { command: ['diff', '--ita-invisible-in-index'], revisions: [], index };
  const changes = await writePatch(repo, comparison, { directory, omitted: [], unlisted: 0 }, signal);
  if (changes.filesChanged === 0) await rm(join(directory, patchFile), { force: true });
  return changes;
}
