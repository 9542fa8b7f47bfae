import { createHash } from 'node:crypto';
import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import type { LfsFile } from './filled.ts';
import { stateOf } from './protected-files.ts';
import type { Candidate } from './stage-changes.ts';

/** A file that was filled with its content, as it was before an agent ran. */
export interface NotedLfsFile extends LfsFile {
  /** What tells whether it is still the same: see `stateOf`. */
  readonly state: string;
}

interface Where {
  readonly path: string;
  readonly lfs?: readonly NotedLfsFile[];
}

/**
 * What git found, which knows pointers only, put right: a file that holds the content of the base commit is no change, and one
 * that was written to is one, whatever its times say.
 */
export async function withLfsAsItIs(
  found: readonly Candidate[],
  { path: workTree, lfs = [] }: Where,
  signal: AbortSignal,
): Promise<readonly Candidate[]> {
  if (lfs.length === 0) return found;
  const candidates = new Map(found.map((candidate) => [candidate.path, candidate]));
  for (const file of lfs) {
    const candidate = candidates.get(file.path);
    if (candidate?.change === 'deleted') continue;
    if (await isAsItWas(workTree, file, signal)) candidates.delete(file.path);
    else if (candidate === undefined) candidates.set(file.path, { path: file.path, change: 'modified' });
  }
  return [...candidates.values()];
}

async function isAsItWas(workTree: string, { path, state, oid, size }: NotedLfsFile, signal: AbortSignal) {
  const now = await stateOf(workTree, path);
  if (now === state) return true;
  signal.throwIfAborted();
  // A program that wrote it anew may have written the same; another mode is a change.
  if (modeOf(now) !== modeOf(state)) return false;
  return (await digestOf(join(workTree, path), size, signal)) === oid;
}

const modeOf = (state: string): string | undefined => state.split(' ').at(-1);

/** Null if it is no file of this size. */
async function digestOf(path: string, size: number, signal: AbortSignal): Promise<string | null> {
  try {
    await using file = await open(
      Buffer.from(path, 'latin1'),
      constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK,
    );
    const stats = await file.stat();
    if (!stats.isFile() || stats.size !== size) return null;
    const hash = createHash('sha256');
    await pipeline(file.createReadStream({ autoClose: false }), hash, { signal });
    return hash.digest('hex');
  } catch {
    signal.throwIfAborted();
    return null; // A link, gone, or out of reach: then it is not what it was.
  }
}
