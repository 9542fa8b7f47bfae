import { constants } from 'node:fs';
import { access, lstat } from 'node:fs/promises';
import { join } from 'node:path';
import type { ChangedFile } from '../jobs/change-set.ts';
import { isPointer, useOfSubmodule } from './left-out.ts';
import { type NotedLfsFile, withLfsAsItIs } from './lfs-changes.ts';
import { attributesFile, isUntouched, type ProtectedFiles } from './protected-files.ts';
import type { ScratchRepo } from './scratch-repo.ts';

/** Bounds of what one patch may hold: a forgotten build directory must not fill the disk, nor take minutes. */
export interface StageLimits {
  readonly maxFiles: number;
  readonly maxFileBytes: number;
  readonly maxTotalBytes: number;
}

export interface Staged {
  readonly anything: boolean;
  /** What is left out, with the reason. */
  readonly omitted: readonly ChangedFile[];
  /** How many more were left out than `omitted` lists. */
  readonly unlisted: number;
}

/** Paths are bytes: here each character of a string is one of them. */
export interface Candidate {
  readonly path: string;
  readonly change: ChangedFile['change'];
}

/** A patch that git refuses to stage is halved until the culprits are found; a directory full of them must not take for ever. */
const maxStagings = 64;
const maxListedOmissions = 100;
const separator = '\0';

/** One process finds what changed and what is new, with all cores, and writes nothing. */
const scan = [
  ...['status', '--porcelain=v2', '-z', '--untracked-files=all', '--no-renames', '--no-ahead-behind'],
  '--ignore-submodules=all',
];

interface Omission extends Candidate {
  readonly omitted: NonNullable<ChangedFile['omitted']>;
}

interface StageOptions {
  readonly path: string;
  readonly protectedFiles: ProtectedFiles;
  /** False if no attributes of the base commit speak of git-crypt or LFS. */
  readonly filters: boolean;
  readonly submodules: readonly string[];
  /** Files that hold what LFS keeps, and not the pointer of the base commit. */
  readonly lfs?: readonly NotedLfsFile[];
  readonly limits: StageLimits;
}

/**
 * Brings the index of the scratch repository, which holds the base commit, to the state of the work tree: new, changed and
 * deleted files, without those that the tree's own `.gitignore` files leave out.
 */
export async function stageChanges(repo: ScratchRepo, options: StageOptions, signal: AbortSignal): Promise<Staged> {
  const found = split(await repo.run(scan, { signal })).map(candidateOf);
  const candidates = await withLfsAsItIs(found, options, signal);
  const mayFilter = options.filters || candidates.some(({ path }) => path.endsWith(attributesFile));
  const { encrypted, lfs } = mayFilter ? await filteredAmong(repo, candidates, signal) : noFilters;
  const omitted: Omission[] = [...(await usedSubmodules(options))];
  const gone: string[] = [];
  const content: string[] = [];
  let bytes = 0;
  for (const candidate of candidates) {
    const { path, change } = candidate;
    if (encrypted.has(path)) {
      if (await isUntouched(options, path)) continue;
      omitted.push({ ...candidate, omitted: 'encrypted' });
    } else if (change === 'deleted') gone.push(path);
    else {
      const file = join(options.path, path.endsWith('/') ? path.slice(0, -1) : path);
      const look = lfs.has(path) && !(await isPointer(file)) ? contentOfLfs : await lookAt(file, path);
      const tooMuch = look.size > options.limits.maxFileBytes || bytes + look.size > options.limits.maxTotalBytes;
      const reason = look.refusal ?? (tooMuch || content.length >= options.limits.maxFiles ? 'too_large' : null);
      if (reason !== null) omitted.push({ ...candidate, omitted: reason });
      else {
        bytes += look.size;
        content.push(path);
      }
    }
  }
  const refused = await bringIndex(repo, { gone, content }, signal);
  const all = [
    ...omitted,
    ...refused.map((path) => ({ path, change: 'added' as const, omitted: 'unreadable' as const })),
  ];
  return {
    anything: gone.length > 0 || content.length > refused.length,
    omitted: all.slice(0, maxListedOmissions).map(omittedFile),
    unlisted: Math.max(0, all.length - maxListedOmissions),
  };
}

/** Submodules are not filled by us, and no part of a patch: one that the job filled or removed is named. */
async function usedSubmodules({ path: workTree, submodules }: StageOptions): Promise<readonly Omission[]> {
  const used: Omission[] = [];
  for (const path of submodules) {
    const change = await useOfSubmodule(workTree, path);
    if (change !== null) used.push({ path, change, omitted: 'repository' });
  }
  return used;
}

function omittedFile({ path, change, omitted }: Candidate & Pick<ChangedFile, 'omitted'>): ChangedFile {
  const none = { oldPath: null, oldMode: null, newMode: null, insertions: null, deletions: null };
  return { path: asText(path), change, ...none, omitted };
}

/** `1 .M N... <mode> <mode> <mode> <id> <id> <path>`, or `? <path>`. */
function candidateOf(record: string): Candidate {
  if (record.startsWith('? ')) return { path: record.slice(2), change: 'added' };
  const [, letter, path] = record.match(/^1 .(.)(?: \S+){6} (.+)$/s) ?? [];
  if (path === undefined) throw new Error('git told of a change in a form that is not known');
  return { path, change: letter === 'D' ? 'deleted' : letter === 'T' ? 'type_changed' : 'modified' };
}

interface Filtered {
  readonly encrypted: ReadonlySet<string>;
  readonly lfs: ReadonlySet<string>;
}

const noFilters: Filtered = { encrypted: new Set(), lfs: new Set() };

/**
 * The files that git-crypt encrypts or LFS keeps elsewhere, by the attributes of the base commit and by those of the work
 * tree: an agent that takes the attribute away must not bring the plain text into the patch.
 */
async function filteredAmong(
  repo: ScratchRepo,
  candidates: readonly Candidate[],
  signal: AbortSignal,
): Promise<Filtered> {
  if (candidates.length === 0) return noFilters;
  const input = joined(candidates.map(({ path }) => path));
  const asked = ['check-attr', '-z', '--stdin'];
  const answers = await Promise.all(
    [
      [...asked, '--cached', 'filter'],
      [...asked, 'filter'],
    ].map(async (args) => pathsByFilter(await repo.run(args, { input, signal }))),
  );
  const paths = (filter: string) => new Set(answers.flatMap((of) => of(filter)));
  return { encrypted: paths('git-crypt'), lfs: paths('lfs') };
}

/** Reads triples of path, attribute and value: the paths whose filter begins so. */
export function pathsByFilter(answer: Buffer): (filter: string) => readonly string[] {
  const fields = split(answer);
  return (filter) => fields.filter((_, at) => at % 3 === 0 && fields[at + 2]?.startsWith(filter));
}

interface Look {
  readonly size: number;
  readonly refusal: ChangedFile['omitted'];
}

const contentOfLfs: Look = { size: 0, refusal: 'lfs' };

async function lookAt(file: string, path: string): Promise<Look> {
  if (path.endsWith('/')) return { size: 0, refusal: 'repository' };
  const bytes = Buffer.from(file, 'latin1');
  try {
    const stats = await lstat(bytes);
    if (stats.isSymbolicLink()) return { size: stats.size, refusal: null };
    if (!stats.isFile()) return { size: 0, refusal: 'unreadable' };
    await access(bytes, constants.R_OK);
    return { size: stats.size, refusal: null };
  } catch {
    return { size: 0, refusal: 'unreadable' }; // Whatever keeps us from it, the patch does not have it, and says so.
  }
}

/** Answers the paths that git refused. */
async function bringIndex(
  repo: ScratchRepo,
  { gone, content }: { readonly gone: readonly string[]; readonly content: readonly string[] },
  signal: AbortSignal,
): Promise<readonly string[]> {
  if (gone.length + content.length === 0) return [];
  // Refused where a link has come in the place of a directory with deleted files, among others: nothing is written then.
  if (await stage(repo, [...gone, ...content], signal)) return [];
  if (gone.length > 0) {
    await repo.run(['update-index', '--force-remove', '-z', '--stdin'], { input: joined(gone), signal });
  }
  return await addAll(repo, content, signal);
}

async function addAll(repo: ScratchRepo, paths: readonly string[], signal: AbortSignal): Promise<readonly string[]> {
  const waiting = paths.length === 0 ? [] : [paths];
  const refused: string[] = [];
  for (let stagings = 0; waiting.length > 0; stagings += 1) {
    const batch = waiting.pop() ?? [];
    if (stagings < maxStagings && (await stage(repo, batch, signal))) continue;
    if (batch.length === 1 || stagings >= maxStagings) refused.push(...batch);
    else waiting.push(batch.slice(0, batch.length / 2), batch.slice(batch.length / 2));
  }
  return refused;
}

/** All of them or none: false if git refuses one. */
async function stage(repo: ScratchRepo, paths: readonly string[], signal: AbortSignal): Promise<boolean> {
  const args = ['update-index', '--add', '--remove', '--replace', '-z', '--stdin'];
  try {
    await repo.run(args, { input: joined(paths), signal });
    return true;
  } catch {
    signal.throwIfAborted();
    return false; // Which one it was git says in words only.
  }
}

export function split(output: Buffer): readonly string[] {
  return output.toString('latin1').split(separator).slice(0, -1);
}

function joined(paths: readonly string[]): Buffer {
  return Buffer.from(paths.map((path) => `${path}${separator}`).join(''), 'latin1');
}

/** The path as JSON can show it. */
export function asText(path: string): string {
  return Buffer.from(path, 'latin1').toString('utf8');
}
