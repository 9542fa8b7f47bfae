import { readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { LeftOut } from '../jobs/change-set.ts';

/** A submodule that is in the clone. Paths are text: what is none is left out. */
export interface FilledSubmodule {
  /** In the work tree, with `/` between its parts. */
  readonly path: string;
  /** Its git directory, from the work tree on. */
  readonly gitDir: string;
  readonly commit: string;
  /** Where the service itself has its objects. */
  readonly objects: string;
}

/** A file whose content LFS keeps. */
export interface LfsFile {
  /** Bytes, one character each. */
  readonly path: string;
  /** SHA-256 of the content. */
  readonly oid: string;
  readonly size: number;
}

/** What was put into a clone that git alone leaves empty, or as pointers. */
export interface Filled {
  /** Of the clone. Where it stands on another, this says nothing. */
  readonly commit: string;
  readonly submodules: readonly FilledSubmodule[];
  /** Those whose content is there. */
  readonly lfs: readonly LfsFile[];
  readonly leftOut: readonly LeftOut[];
  /** How much could be had when it was filled: see `Contents.revision`. */
  readonly revision: number;
}

/** In the clone itself, so that each copy of it brings it along. Nobody reads it once a job has begun. */
const file = (clone: string): string => join(clone, '.git', 'agent-service.json');

export async function writeFilled(clone: string, filled: Filled): Promise<void> {
  await writeFile(file(clone), JSON.stringify(filled), { mode: 0o600 });
}

/** Null where nothing was filled in. To be asked only of a clone in which nobody has worked. */
export async function readFilled(clone: string): Promise<Filled | null> {
  const text = await readFile(file(clone), 'utf8').catch(() => null);
  // Ours: git keeps the base from having such a file.
  return text === null ? null : (JSON.parse(text) as Filled);
}

export async function forgetFilled(clone: string): Promise<void> {
  await rm(file(clone), { force: true });
}
