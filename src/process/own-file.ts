import { closeSync, constants, fstatSync, openSync } from 'node:fs';

/** What says that there is no file for us: absent, closed to us, a link, or a FIFO, on which opening would block the process. */
const absentCodes: readonly unknown[] = ['ENOENT', 'EACCES', 'ELOOP', 'ENXIO'];

/** Opens a regular file for reading; null if there is none. A program may do to its log what it likes: a link is none. */
export function openOwnFile(path: string): number | null {
  try {
    const fd = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
    if (fstatSync(fd).isFile()) return fd;
    closeSync(fd);
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? error.code : null;
    if (!absentCodes.includes(code)) throw error;
  }
  return null;
}
