import type { ChangedFile } from '../jobs/change-set.ts';
import { asText, split } from './stage-changes.ts';

interface ChangedFiles {
  readonly files: readonly ChangedFile[];
  readonly filesChanged: number;
  readonly insertions: number;
  readonly deletions: number;
  /** True if `files` does not list them all. */
  readonly truncated: boolean;
}

/** A page of them is what a person reads; the patch has all. */
const maxListedFiles = 1_000;
const noMode = '000000';
const changeOf: Readonly<Record<string, ChangedFile['change']>> = {
  A: 'added',
  D: 'deleted',
  M: 'modified',
  R: 'renamed',
  T: 'type_changed',
};

/** Reads what `git diff-index --raw --numstat -z` says: one record per file in each of two lists, in the same order. */
export function readChangedFiles(output: Buffer): ChangedFiles {
  const fields = split(output);
  const files: Pick<ChangedFile, 'path' | 'oldPath' | 'change' | 'oldMode' | 'newMode'>[] = [];
  let at = 0;
  for (let raw = fields[at]; raw?.startsWith(':'); raw = fields[at]) {
    const [oldMode = noMode, newMode = noMode, , , letter = ''] = raw.slice(1).split(' ');
    const isRename = letter.startsWith('R');
    const path = asText(fields[at + (isRename ? 2 : 1)] ?? '');
    const oldPath = isRename ? asText(fields[at + 1] ?? '') : null;
    files.push({
      path,
      oldPath,
      change: changeOf[letter.charAt(0)] ?? 'modified',
      oldMode: mode(oldMode),
      newMode: mode(newMode),
    });
    at += isRename ? 3 : 2;
  }
  const counts: { readonly insertions: number | null; readonly deletions: number | null }[] = [];
  while (at < fields.length) {
    const field = fields[at] ?? '';
    const [insertions = '-', deletions = '-'] = field.split('\t');
    counts.push({ insertions: count(insertions), deletions: count(deletions) });
    // Without a path of its own it is a rename: both paths follow.
    at += /^[^\t]*\t[^\t]*\t$/.test(field) ? 3 : 1;
  }
  const sum = (key: 'insertions' | 'deletions') => counts.reduce((total, each) => total + (each[key] ?? 0), 0);
  return {
    files: files.slice(0, maxListedFiles).map((file, index) => ({
      ...file,
      insertions: counts[index]?.insertions ?? null,
      deletions: counts[index]?.deletions ?? null,
      omitted: null,
    })),
    filesChanged: files.length,
    insertions: sum('insertions'),
    deletions: sum('deletions'),
    truncated: files.length > maxListedFiles,
  };
}

function mode(text: string): string | null {
  return text === noMode ? null : text;
}

function count(text: string): number | null {
  return text === '-' ? null : Number(text);
}
