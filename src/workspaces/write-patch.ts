import { mkdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { ChangeSet } from '../jobs/change-set.ts';
import type { AgentCommits } from './agent-commits.ts';
import { readChangedFiles } from './changed-files.ts';
import { cutAfterLastFile } from './cut-patch.ts';
import { patchFile } from './kept-changes.ts';
import type { ScratchRepo } from './scratch-repo.ts';
import type { Staged } from './stage-changes.ts';

/** What is told of a work tree. */
export type TreeChanges = Omit<ChangeSet, 'baseCommit' | keyof AgentCommits>;

/** The command of git that finds the differences, and what it finds them between. */
export interface Comparison {
  readonly command: readonly string[];
  readonly revisions: readonly string[];
  /** The index; that of the scratch repository by default. */
  readonly index?: string;
}

/** Larger than any patch that somebody reviews, small against a disk. */
export const maxPatchBytes = 64 * 1024 * 1024;
/** Of what there is, and nothing that an attribute or a setting could ask for. */
export const plainDiff = ['-M', '--no-ext-diff', '--no-textconv', '--no-color', '--ignore-submodules=all'];
/** The list, two NULs, the patch: one process finds the differences once. */
export const diffForms = ['--raw', '--numstat', '-z', '--no-abbrev', '--patch', '--binary'];

/** Writes the patch into the directory, and answers what is in it and what was left out. */
export async function writePatch(
  repo: ScratchRepo,
  { command, revisions, index }: Comparison,
  { directory, omitted, unlisted }: Omit<Staged, 'anything'> & { readonly directory: string },
  signal: AbortSignal,
): Promise<TreeChanges> {
  await mkdir(directory, { recursive: true, mode: 0o700 });
  const patch = join(directory, patchFile);
  let files = readChangedFiles(Buffer.alloc(0));
  const { cut } = await repo.runToFile([...command, ...diffForms, ...plainDiff, ...revisions, '--'], patch, {
    maxBytes: maxPatchBytes,
    signal,
    ...(index !== undefined && { index }),
    onHead(head) {
      files = readChangedFiles(head);
    },
  });
  if (cut) await cutAfterLastFile(patch);
  const { size } = await stat(patch);
  const left = omitted.length + unlisted;
  return {
    filesChanged: files.filesChanged + left,
    insertions: files.insertions,
    deletions: files.deletions,
    patchBytes: size,
    files: [...omitted, ...files.files],
    truncated: cut || files.truncated || left > 0,
    problem: cut ? `The patch is longer than ${maxPatchBytes} bytes: its last files are missing` : problemOf(left),
  };
}

/** A sentence where files were left out. */
export function problemOf(left: number): string | null {
  return left === 0 ? null : `The patch lacks ${left} of the changed files: the list of files says why`;
}
