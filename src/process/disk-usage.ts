import { execa } from 'execa';

/** `nice` and `du` where every Linux has them: nothing of ours decides which programs these are. */
const env = { PATH: '/usr/bin:/bin', LC_ALL: 'C' };
const blockBytes = 1024;

/**
 * The bytes that directories take on disk together, told by `du` in a process of low priority: the blocks of each file once,
 * holes are free, no link is followed, no other file system is entered. What cannot be read, or goes while it is looked at,
 * is left out, so the answer is rather too low. Null if it was not told within the time, or if the signal aborted first.
 */
export async function diskUsage(
  paths: readonly string[],
  options: { readonly timeoutMs: number; readonly signal: AbortSignal },
): Promise<number | null> {
  const result = await execa('nice', ['-n', '19', 'du', '-skx', '--', ...paths], {
    env,
    extendEnv: false,
    stdin: 'ignore',
    // A line for each name that cannot be read would be the job's to multiply.
    stderr: 'ignore',
    timeout: options.timeoutMs,
    cancelSignal: options.signal,
    reject: false,
  });
  const { stdout, exitCode } = result;
  // An exit code of 1 is that something was left out; none is that it was killed. A `du` that is quick ends before its signal comes.
  if (options.signal.aborted || exitCode === undefined || typeof stdout !== 'string') return null;
  const totals = paths.flatMap((path) => totalOf(path, stdout));
  return totals.length === 0 ? null : totals.reduce((sum, bytes) => sum + bytes, 0);
}

function totalOf(path: string, stdout: string): readonly number[] {
  const match = new RegExp(`(?:^|\\n)(\\d+)\\t${RegExp.escape(path)}(?:\\n|$)`).exec(stdout);
  return match === null ? [] : [Number(match[1]) * blockBytes];
}
