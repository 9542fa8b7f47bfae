import { constants } from 'node:fs';
import { lstat, open, opendir } from 'node:fs/promises';
import { join } from 'node:path';

/** How each pointer of LFS begins: https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md */
const pointerStart = Buffer.from('version https://git-lfs.github.com/spec/');

/** True if the file holds what the repository keeps of a large file, and not its content. `path` is bytes. */
export async function isPointer(path: string): Promise<boolean> {
  try {
    await using file = await open(
      Buffer.from(path, 'latin1'),
      constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK,
    );
    const { buffer, bytesRead } = await file.read(Buffer.alloc(pointerStart.length), 0, pointerStart.length, 0);
    return bytesRead === pointerStart.length && buffer.equals(pointerStart);
  } catch {
    return false; // A link, or out of reach: no pointer.
  }
}

/** What became of the place of a submodule, which the clone left empty. Null if it is empty still. `path` is bytes. */
export async function useOfSubmodule(workTree: string, path: string): Promise<'modified' | 'deleted' | null> {
  const place = Buffer.from(join(workTree, path), 'latin1');
  try {
    if (!(await lstat(place)).isDirectory()) return 'modified';
    await using directory = await opendir(place);
    return (await directory.read()) === null ? null : 'modified';
  } catch (error) {
    return error instanceof Error && 'code' in error && error.code === 'ENOENT' ? 'deleted' : 'modified';
  }
}
