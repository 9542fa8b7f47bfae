import { open } from 'node:fs/promises';

/** How much is read at a time while looking for the last file, from the end. */
const windowBytes = 1024 * 1024;
/** No line of a file's content begins so: each has a sign before it, and binary ones have no spaces. */
const start = Buffer.from('\ndiff --git ');

/** Shortens a patch that was cut somewhere to the end of its last whole file, so that what is left applies. */
export async function cutAfterLastFile(path: string): Promise<void> {
  await using file = await open(path, 'r+');
  const { size } = await file.stat();
  for (let end = size; end > 0; end -= windowBytes) {
    const from = Math.max(0, end - windowBytes);
    const length = Math.min(size - from, end - from + start.length);
    const { buffer } = await file.read(Buffer.alloc(length), 0, length, from);
    const at = buffer.lastIndexOf(start);
    if (at !== -1) return await file.truncate(from + at + 1);
  }
  await file.truncate(0);
}
