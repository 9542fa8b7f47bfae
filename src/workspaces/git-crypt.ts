import { access } from 'node:fs/promises';
import { ExecaError, execa } from 'execa';
import { WorkspaceError } from '../jobs/errors.ts';
import { hardenedEnv } from './git.ts';

/** It runs every encrypted file through a filter: seconds for thousands. */
const unlockTimeoutMs = 120_000;

export interface Unlock {
  readonly path: string;
  readonly keyFile: string;
  readonly gitEnv: Readonly<Record<string, string>>;
}

/**
 * Decrypts a clone in which no agent has run yet, if there is a key. The key is then in the clone: from here on the job knows
 * it. Answers whether there was one. Rejects with `WorkspaceError`, and with the signal's reason once that aborted.
 */
export async function unlock({ path, keyFile, gitEnv }: Unlock, signal: AbortSignal): Promise<boolean> {
  if (!(await isThere(keyFile))) return false;
  try {
    await execa('git-crypt', ['unlock', keyFile], {
      cwd: path,
      env: hardenedEnv(gitEnv, 'local'),
      extendEnv: false,
      stdin: 'ignore',
      stdout: 'ignore',
      timeout: unlockTimeoutMs,
      cancelSignal: signal,
      killDescendants: true,
    });
    return true;
  } catch (error) {
    signal.throwIfAborted();
    throw new WorkspaceError(problemOf(error), { cause: error });
  }
}

function problemOf(error: unknown): string {
  if (!(error instanceof ExecaError)) return 'git-crypt could not be run';
  if (error.code === 'ENOENT') return 'git-crypt is not installed, but there is a key for it';
  if (error.timedOut) return 'git-crypt did not end in time';
  return 'git-crypt could not unlock the workspace: the key does not fit, or the repository is not encrypted with it';
}

async function isThere(path: string): Promise<boolean> {
  return await access(path).then(
    () => true,
    () => false,
  );
}
