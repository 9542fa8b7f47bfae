import { randomBytes } from 'node:crypto';
import { mkdir, readdir, rename, rmdir } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { execa } from 'execa';
import type { Log } from '../jobs/ports.ts';
import { createMutex } from './mutex.ts';

/** Takes directories out of sight at once and removes them later, one at a time, in a child process of low priority. */
export interface Removal {
  /** Resolves once the entry of the jobs' directory is out of sight. Never rejects: it logs, and the entry stays. */
  discard(name: string): Promise<void>;
  /** Begins to remove what a dead process left in the trash. */
  emptyTrash(): Promise<void>;
  /** How many directories could not be removed since the start; they stay in the trash. */
  quarantined(): number;
  /** Waits for removals under way, up to a bound; what is left then is removed after the next start. */
  close(): Promise<void>;
}

/** Holds the trash of `jobsDir`: on its file system, so that a rename does. */
const trashName = '.trash';
/** The largest trees take seconds to minutes on a busy disk; what takes this long hangs on a dead one. */
const removeTimeoutMs = 1_800_000;
/** How long an exit of the service waits for removals. */
const closeWaitMs = 5_000;
/** `rm` and `chmod` where every Linux has them: nothing of ours decides which program this is. */
const env = { PATH: '/usr/bin:/bin', LC_ALL: 'C' };

export function createRemoval({ jobsDir, log }: { readonly jobsDir: string; readonly log: Log }): Removal {
  const trash = join(jobsDir, trashName);
  const oneByOne = createMutex();
  const closing = new AbortController();
  const pending = new Set<Promise<void>>();
  let quarantined = 0;

  async function remove(path: string): Promise<void> {
    // Starting a process takes milliseconds of this thread: whoever waits for the rename goes first.
    await setImmediate();
    const error = await oneByOne.run(() => removeTwice(path, closing.signal));
    if (error === null || closing.signal.aborted) return;
    quarantined += 1;
    log.error({ err: error, quarantined }, 'workspace could not be removed, it stays in the trash');
  }

  function removeLater(path: string): void {
    const removing = remove(path).finally(() => pending.delete(removing));
    pending.add(removing);
  }

  return {
    async discard(name) {
      try {
        removeLater(await hide(jobsDir, trash, name));
      } catch (error) {
        log.error({ err: error, workspace: name }, 'workspace could not be moved to the trash');
      }
    },
    async emptyTrash() {
      await mkdir(trash, { recursive: true, mode: 0o700 });
      for (const name of await readdir(trash)) removeLater(join(trash, name));
    },
    quarantined: () => quarantined,
    async close() {
      const timer = setTimeout(() => closing.abort(), closeWaitMs);
      await Promise.all(pending);
      clearTimeout(timer);
    },
  };
}

/**
 * Into a directory of our own in the trash: the entry itself may by now be a link that the job put in its place, and what is
 * removed must be a directory that nobody else named.
 */
async function hide(jobsDir: string, trash: string, name: string): Promise<string> {
  const own = join(trash, `${randomBytes(9).toString('hex')}-${basename(name)}`);
  await mkdir(own, { recursive: true, mode: 0o700 });
  try {
    await rename(join(jobsDir, name), join(own, 'workspace'));
  } catch (error) {
    await rmdir(own);
    throw error;
  }
  return own;
}

/** Answers why the directory is still there, or null. */
async function removeTwice(path: string, signal: AbortSignal): Promise<Error | null> {
  const remove = () => runNicely(['rm', '-rf', '--one-file-system', '--', path], signal);
  if ((await remove()) === null) return null;
  // As an ordinary user a directory without rights keeps what is in it. Neither program follows links below `path`.
  await runNicely(['chmod', '-R', 'u+rwX', '--', path], signal);
  return await remove();
}

async function runNicely(command: readonly string[], signal: AbortSignal): Promise<Error | null> {
  if (signal.aborted) return null;
  const result = await execa('nice', ['-n', '19', ...command], {
    env,
    extendEnv: false,
    stdin: 'ignore',
    stdout: 'ignore',
    stderr: 'ignore',
    timeout: removeTimeoutMs,
    cancelSignal: signal,
    reject: false,
  });
  return result.failed ? new Error(result.shortMessage, { cause: result.cause }) : null;
}
