import { execa } from 'execa';

/** `rm` and `chmod` where every Linux has them: nothing of ours decides which program this is. */
const env = { PATH: '/usr/bin:/bin', LC_ALL: 'C' };
/** The largest trees take seconds; what takes this long hangs on a dead disk. */
const timeoutMs = 600_000;

/**
 * Removes directories that others have written in, in a process of its own: removing in this one stalls the event loop and
 * loses races against links. The paths themselves must be directories that we made, and at most a few hundred. Answers why
 * one of them could not be removed, or null.
 */
export async function removeTree(...paths: readonly string[]): Promise<Error | null> {
  const remove = () => run('rm', ['-rf', '--one-file-system', '--', ...paths]);
  if ((await remove()) === null) return null;
  // As an ordinary user a directory without rights keeps what is in it. Neither program follows links below the paths.
  await run('chmod', ['-R', 'u+rwX', '--', ...paths]);
  return await remove();
}

async function run(file: string, args: readonly string[]): Promise<Error | null> {
  const result = await execa(file, args, {
    env,
    extendEnv: false,
    stdin: 'ignore',
    stdout: 'ignore',
    timeout: timeoutMs,
    reject: false,
  });
  return result.failed ? new Error(result.shortMessage, { cause: result.cause }) : null;
}
