import { constants } from 'node:fs';
import { lstat, readFile } from 'node:fs/promises';
import { join } from 'node:path';

/**
 * The files that were decrypted in a workspace before its agent ran, each with what tells whether it is still the same: git
 * itself would have to encrypt it again to compare it with the commit.
 */
export type ProtectedFiles = ReadonlyMap<string, string>;

export const attributesFile = '.gitattributes';
const noLink = constants.O_RDONLY | constants.O_NOFOLLOW;

/** `paths` are bytes, one character each. */
export async function noteProtectedFiles(workTree: string, paths: readonly string[]): Promise<ProtectedFiles> {
  const noted = new Map<string, string>();
  for (const path of paths) noted.set(path, await stateOf(workTree, path));
  return noted;
}

/** True if nobody has written to the file since it was noted. */
export async function isUntouched(
  { path: workTree, protectedFiles }: { readonly path: string; readonly protectedFiles: ProtectedFiles },
  path: string,
): Promise<boolean> {
  const noted = protectedFiles.get(path);
  return noted !== undefined && noted === (await stateOf(workTree, path));
}

/** What changes with any write to the file, and its mode last; `path` is bytes. */
export async function stateOf(workTree: string, path: string): Promise<string> {
  try {
    const { ino, size, mtimeNs, ctimeNs, mode } = await lstat(Buffer.from(join(workTree, path), 'latin1'), {
      bigint: true,
    });
    return [ino, size, mtimeNs, ctimeNs, mode].join(' ');
  } catch {
    return 'gone'; // Deleted, or out of reach.
  }
}

/** Whether any attributes among the files name git-crypt or LFS: filters, macros and named keys all hold the word. */
export async function speaksOfFilters(workTree: string, paths: readonly string[]): Promise<boolean> {
  for (const path of paths) {
    if (path !== attributesFile && !path.endsWith(`/${attributesFile}`)) continue;
    const text = await readFile(Buffer.from(join(workTree, path), 'latin1'), { flag: noLink }).catch(() => null);
    // A link, which may lead anywhere: git does not follow it either, but then nothing is known.
    if (text === null || text.includes('git-crypt') || text.includes('lfs')) return true;
  }
  return false;
}
