import { lstat } from 'node:fs/promises';
import { execa } from 'execa';

/** `nice`, `rm` and `chmod` where every Linux has them: nothing of ours decides which programs these are. */
const env = { PATH: '/usr/bin:/bin', LC_ALL: 'C' };
/** The largest trees take seconds to minutes on a busy disk; what takes this long hangs on a dead one. */
const timeoutMs = 1_800_000;

export interface RemovedTrees {
  /** Those of the given paths that are still there. */
  readonly left: readonly string[];
  /** Why; null where nothing is left. */
  readonly error: Error | null;
}

const allGone: RemovedTrees = { left: [], error: null };

/**
 * Removes directories that others have written in, in a process of low priority: removing in this one stalls the event loop
 * and loses races against links. The paths themselves must be directories that we made, and at most a few hundred. Never
 * rejects. Once the signal aborts, what it says is worth nothing.
 */
export async function removeTrees(paths: readonly string[], signal?: AbortSignal): Promise<RemovedTrees> {
  if ((await remove(paths, signal)) === null) return allGone;
  const left = await directoriesAmong(paths);
  // As an ordinary user a directory without rights keeps what is in it. Neither program follows links below the paths. Only
  // now, and only there: it writes every inode once more.
  if (left.length > 0) await run(['chmod', '-R', 'u+rwX', '--', ...left], signal);
  const error = await remove(paths, signal);
  return error === null ? allGone : { left: await thoseThere(paths), error };
}

/** As `removeTrees`; answers why something is left, or null. */
export async function removeTree(...paths: readonly string[]): Promise<Error | null> {
  return (await removeTrees(paths)).error;
}

async function remove(paths: readonly string[], signal: AbortSignal | undefined): Promise<Error | null> {
  return await run(['rm', '-rf', '--one-file-system', '--', ...paths], signal);
}

async function run(command: readonly string[], signal: AbortSignal | undefined): Promise<Error | null> {
  if (signal?.aborted === true) return null;
  const result = await execa('nice', ['-n', '19', ...command], {
    env,
    extendEnv: false,
    stdin: 'ignore',
    stdout: 'ignore',
    // A line for each name that cannot be removed would be the job's to multiply.
    stderr: 'ignore',
    timeout: timeoutMs,
    ...(signal !== undefined && { cancelSignal: signal }),
    reject: false,
  });
  return result.failed ? new Error(result.shortMessage, { cause: result.cause }) : null;
}

async function thoseThere(paths: readonly string[]): Promise<readonly string[]> {
  const kinds = await Promise.all(paths.map(kindOf));
  return paths.filter((_, i) => kinds[i] !== 'absent');
}

/** `chmod` would follow a path that is a link itself. */
async function directoriesAmong(paths: readonly string[]): Promise<readonly string[]> {
  const kinds = await Promise.all(paths.map(kindOf));
  return paths.filter((_, i) => kinds[i] === 'directory');
}

/** What cannot be looked at is taken to be there. */
async function kindOf(path: string): Promise<'directory' | 'absent' | 'other'> {
  try {
    return (await lstat(path)).isDirectory() ? 'directory' : 'other';
  } catch (error) {
    return error instanceof Error && 'code' in error && error.code === 'ENOENT' ? 'absent' : 'other';
  }
}
