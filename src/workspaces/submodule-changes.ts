import { createReadStream, createWriteStream } from 'node:fs';
import { mkdir, rm, stat } from 'node:fs/promises';
import { dirname, join, relative } from 'node:path';
import { pipeline } from 'node:stream/promises';
import type { ChangedFile, ChangeSet } from '../jobs/change-set.ts';
import { headCommitOf, readSmallFile } from './agent-commits.ts';
import type { Snapshot } from './change-taker.ts';
import { readChangedFiles } from './changed-files.ts';
import { cutAfterLastFile } from './cut-patch.ts';
import { bytesOf, type NotedSubmodule, submodulesOf } from './note-filled.ts';
import { identityOf, openScratchRepo } from './note-workspace.ts';
import { type StageLimits, stageChanges } from './stage-changes.ts';
import { diffForms, plainDiff } from './write-patch.ts';

/** What a job changed inside submodules: in the patch, with the submodule's path before that of each file. */
interface SubmoduleChanges {
  readonly files: readonly ChangedFile[];
  readonly filesChanged: number;
  readonly insertions: number;
  readonly deletions: number;
  /** How many the patch lacks. */
  readonly left: number;
  /** True if there was no room for all of it. */
  readonly cut: boolean;
}

export interface TakingSubmodules {
  readonly workTree: string;
  readonly snapshot: Pick<Snapshot, 'filled'>;
  /** What is written is added at its end. */
  readonly patch: string;
  readonly limits: StageLimits;
  /** PATH for git. */
  readonly path: string;
  /** How many files of the base itself are not in the patch. */
  readonly left: number;
}

/** A `.git` file is one line. */
const maxGitFileBytes = 4_096;
const maxListedFiles = 1_000;

type Tree = Pick<
  ChangeSet,
  'files' | 'filesChanged' | 'insertions' | 'deletions' | 'patchBytes' | 'truncated' | 'problem'
>;

/**
 * What a job changed in the base itself, and what it changed in its submodules, against the recorded commits and with git
 * directories of the service's own: neither the `.git` of a submodule nor what it leads to is obeyed. One that stands on
 * another commit than the recorded one is named as well: its commits are nowhere but in the workspace.
 */
export async function withSubmodules(own: Tree, taking: TakingSubmodules, signal: AbortSignal): Promise<Tree> {
  const { left, patch, snapshot } = taking;
  if (submodulesOf(snapshot).length === 0) return own;
  // Somebody may have begun before.
  if (own.patchBytes === 0) await rm(patch, { force: true });
  const inside = await takeSubmodules(taking, signal);
  if (inside.filesChanged === 0) return own;
  const files = [...own.files, ...inside.files];
  const lacks = left + inside.left;
  const lacking = lacks === 0 ? null : `The patch lacks ${lacks} of the changed files: the list of files says why`;
  const cut = inside.cut ? 'The patch is too long: files in submodules are missing' : null;
  return {
    files: files.slice(0, maxListedFiles),
    filesChanged: own.filesChanged + inside.filesChanged,
    insertions: own.insertions + inside.insertions,
    deletions: own.deletions + inside.deletions,
    patchBytes: await sizeOf(patch),
    truncated: own.truncated || inside.cut || lacks > 0 || files.length > maxListedFiles,
    problem: (left === 0 ? own.problem : null) ?? cut ?? lacking,
  };
}

async function takeSubmodules(taking: TakingSubmodules, signal: AbortSignal): Promise<SubmoduleChanges> {
  const all: SubmoduleChanges[] = [];
  const gone: string[] = [];
  for (const submodule of submodulesOf(taking.snapshot)) {
    if (gone.some((path) => submodule.path.startsWith(`${path}/`))) continue;
    const change = await useOf(taking.workTree, submodule);
    if (change !== null) gone.push(submodule.path);
    all.push(change === null ? await takeOne(taking, submodule, signal) : named(submodule, change));
  }
  const sum = (key: 'filesChanged' | 'insertions' | 'deletions' | 'left') =>
    all.reduce((total, each) => total + each[key], 0);
  return {
    files: all.flatMap(({ files }) => files),
    ...{ filesChanged: sum('filesChanged'), insertions: sum('insertions'), deletions: sum('deletions') },
    ...{ left: sum('left'), cut: all.some(({ cut }) => cut) },
  };
}

/** What became of its place as a whole; null if it is the directory that it was. */
async function useOf(workTree: string, { path, identity }: NotedSubmodule): Promise<'deleted' | 'modified' | null> {
  try {
    return (await identityOf(join(workTree, path))) === identity ? null : 'modified';
  } catch {
    return 'deleted'; // Nothing there, or nothing that can be reached.
  }
}

function named({ path }: NotedSubmodule, change: ChangedFile['change']): SubmoduleChanges {
  const none = { oldPath: null, oldMode: null, newMode: null, insertions: null, deletions: null };
  const files = [{ path, change, ...none, omitted: 'repository' } as const];
  return { files, filesChanged: 1, insertions: 0, deletions: 0, left: 1, cut: false };
}

async function takeOne(
  { workTree, patch, limits, path: programs, snapshot }: TakingSubmodules,
  submodule: NotedSubmodule,
  signal: AbortSignal,
): Promise<SubmoduleChanges> {
  const { path, commit, objects, directory, filters } = submodule;
  const place = join(workTree, path);
  const repo = await openScratchRepo({ path: programs }, place, { directory, baseCommit: commit, objects }, 'take');
  const isFilled = (inner: string) =>
    submodulesOf(snapshot).some((other) => bytesOf(other.path) === `${bytesOf(path)}/${inner}`);
  const options = { path: place, protectedFiles: new Map(), filters, limits };
  const inner = submodule.submodules.filter((link) => !isFilled(link));
  const staged = await stageChanges(repo, { ...options, submodules: inner }, signal);
  const left = staged.omitted.length + staged.unlisted;
  const moved = (await hasMoved(workTree, submodule)) ? [...named(submodule, 'modified').files] : [];
  let files = readChangedFiles(Buffer.alloc(0));
  let cut = false;
  if (staged.anything) {
    const part = join(directory, 'patch');
    // Git puts no prefix before the names of a rename: such a patch would not apply.
    const prefixes = ['--no-renames', `--src-prefix=a/${path}/`, `--dst-prefix=b/${path}/`];
    const maxBytes = Math.max(0, limits.maxTotalBytes - (await sizeOf(patch)));
    const onHead = (head: Buffer) => {
      files = readChangedFiles(head);
    };
    const args = ['diff-index', '--cached', ...diffForms, ...plainDiff, ...prefixes, commit, '--'];
    ({ cut } = await repo.runToFile(args, part, { maxBytes, signal, onHead }));
    if (cut) await cutAfterLastFile(part);
    await appendTo(patch, part);
  }
  const below = (file: ChangedFile) => ({ ...file, path: `${path}/${file.path}` });
  return {
    files: [...moved, ...[...staged.omitted, ...files.files].map(below)],
    filesChanged: files.filesChanged + left + moved.length,
    insertions: files.insertions,
    deletions: files.deletions,
    left: left + moved.length,
    cut: cut || files.truncated,
  };
}

/** Whether it may stand on another commit. Only the files of refs are read, where they were made. */
async function hasMoved(workTree: string, { path, gitDir, commit }: NotedSubmodule): Promise<boolean> {
  const link = await readSmallFile(join(workTree, path, '.git'), maxGitFileBytes);
  if (link !== `gitdir: ${relative(path, gitDir)}\n`) return true;
  return (await headCommitOf(join(workTree, gitDir))) !== commit;
}

async function appendTo(patch: string, part: string): Promise<void> {
  await mkdir(dirname(patch), { recursive: true, mode: 0o700 });
  await pipeline(createReadStream(part), createWriteStream(patch, { flags: 'a', mode: 0o600 }));
  await rm(part);
}

async function sizeOf(file: string): Promise<number> {
  return await stat(file).then(
    ({ size }) => size,
    () => 0,
  );
}
