import { randomBytes } from 'node:crypto';
import { mkdir, readdir, rename, rmdir } from 'node:fs/promises';
import { basename, join } from 'node:path';
import type { Log } from '../jobs/ports.ts';
import type { Remover } from '../process/remover.ts';

/** Takes directories out of sight at once and has them removed later. */
export interface Removal {
  /** Resolves once the entry of the jobs' directory is out of sight. Never rejects: it logs, and tries again later. */
  discard(name: string): Promise<void>;
  /** Begins to remove what a dead process left in the trash. */
  emptyTrash(): Promise<void>;
  /** Waits for removals under way, up to a bound; what is left then is removed after the next start. */
  close(): Promise<void>;
}

export interface RemovalDeps {
  readonly jobsDir: string;
  readonly remover: Remover;
  readonly log: Log;
}

/** Holds the trash of `jobsDir`: on its file system, so that a rename does. */
const trashName = '.trash';

export function createRemoval({ jobsDir, remover, log }: RemovalDeps): Removal {
  const trash = join(jobsDir, trashName);

  async function discard(name: string): Promise<void> {
    const path = join(jobsDir, name);
    try {
      remover.remove(await hide(path, trash));
      remover.settle(path);
    } catch (error) {
      log.error({ err: error, workspace: name }, 'workspace could not be moved to the trash');
      if (isAbsent(error)) remover.settle(path);
      else remover.setAside(path, () => void discard(name));
    }
  }

  return {
    discard,
    async emptyTrash() {
      await mkdir(trash, { recursive: true, mode: 0o700 });
      for (const name of await readdir(trash)) remover.remove(join(trash, name));
    },
    close: remover.close,
  };
}

/**
 * Into a directory of our own in the trash: the entry itself may by now be a link that the job put in its place, and what is
 * removed must be a directory that nobody else named.
 */
async function hide(path: string, trash: string): Promise<string> {
  const own = join(trash, `${randomBytes(9).toString('hex')}-${basename(path)}`);
  await mkdir(own, { recursive: true, mode: 0o700 });
  try {
    await rename(path, join(own, 'workspace'));
  } catch (error) {
    await rmdir(own);
    throw error;
  }
  return own;
}

function isAbsent(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'ENOENT';
}
