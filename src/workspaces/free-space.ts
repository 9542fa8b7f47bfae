import { statfs } from 'node:fs/promises';
import type { Clock, Log } from '../jobs/ports.ts';

interface FreeSpaceOptions {
  /** Directories that jobs write to, each with the name that an operator knows it by. */
  readonly directories: Readonly<Record<string, string>>;
  readonly minFreeBytes: number;
  readonly clock: Clock;
  readonly log: Log;
}

/** A burst of submissions shares one look: a disk does not fill up in less. */
const maxAgeMs = 1_000;

/** The free space where a directory is; NaN where it cannot be told. */
export async function freeBytes(path: string): Promise<number> {
  return await statfs(path).then(
    ({ bavail, bsize }) => bavail * bsize,
    () => Number.NaN,
  );
}

/** Answers which directory has too little free space for more jobs, a sentence for an operator; null if none has. */
export function createFreeSpaceCheck({
  directories,
  minFreeBytes,
  clock,
  log,
}: FreeSpaceOptions): () => Promise<string | null> {
  let last = { at: Number.NEGATIVE_INFINITY, reason: Promise.resolve<string | null>(null) };

  async function look(): Promise<string | null> {
    for (const [name, path] of Object.entries(directories)) {
      try {
        const { bavail, bsize } = await statfs(path);
        if (bavail * bsize < minFreeBytes) {
          log.warn(
            { directory: name, free: bavail * bsize, floor: minFreeBytes },
            'disk space is low: no job is admitted',
          );
          return `The disk of ${name} has less free space than MIN_FREE_DISK_BYTES: free some, or lower the floor`;
        }
      } catch (error) {
        // Not there yet, or away: the checks of the store and of the workspaces say that in their own words.
        log.debug({ err: error, directory: name }, 'free space is not known');
      }
    }
    return null;
  }

  return async () => {
    if (clock.now() - last.at >= maxAgeMs) last = { at: clock.now(), reason: look() };
    return await last.reason;
  };
}
