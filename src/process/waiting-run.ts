import { constants, open } from 'node:fs/promises';
import type { Containment, WaitingProcess } from './containment.ts';
import { attend, type ProcessExit, type ProcessOptions } from './run-process.ts';

export type WaitingOptions = Omit<ProcessOptions, 'stdinFile' | 'survives' | 'containment'>;

/** A program that was started before there is anything for it to do. */
export interface WaitingRun {
  /** Null until it runs, and once it is over. */
  pid(): number | null;
  /** Gives it its input and goes on as `runProcess` does; the times of the exit count from here. Call once. */
  begin(input: string, signal: AbortSignal): Promise<ProcessExit>;
  /** Ends it without grace. */
  discard(): Promise<void>;
  /** Resolves when nothing of it is left. */
  readonly ended: Promise<void>;
}

const appending = constants.O_WRONLY | constants.O_APPEND | constants.O_CREAT;

/** Starts a program under the same limits as any other, but for time and silence. Rejects if its files cannot be opened. */
export async function startWaiting(
  startIn: NonNullable<Containment['startWaiting']>,
  options: WaitingOptions,
): Promise<WaitingRun> {
  let pid: number | null = null;
  const program = await launch(startIn, { ...options, onSpawn: (id) => (pid = id) });
  const ended = program.ended.then(() => {
    pid = null;
  });
  return {
    pid: () => pid,
    async begin(input, signal) {
      const startedAt = Date.now();
      const start = performance.now();
      if (!signal.aborted) program.begin(input);
      const end = await attend(program, options.hurry, signal);
      return { ...end, startedAt, durationMs: performance.now() - start };
    },
    async discard() {
      program.hurry();
      program.end('discarded');
      await ended;
    },
    ended,
  };
}

/** The program has copies of the descriptors: ours are closed as soon as it has started. */
async function launch(
  startIn: NonNullable<Containment['startWaiting']>,
  { command, stdoutFile, stderrFile, idleMs = null, timeoutMs, graceMs, maxOutputBytes, ...rest }: WaitingOptions,
): Promise<WaitingProcess> {
  const stdout = await open(stdoutFile, appending, 0o600);
  try {
    const stderr = await open(stderrFile, appending, 0o600);
    try {
      const limits = { timeoutMs, idleMs, graceMs, maxOutputBytes };
      return startIn({ ...rest, command, limits, streams: { stdout: stdout.fd, stderr: stderr.fd } });
    } finally {
      await stderr.close();
    }
  } finally {
    await stdout.close();
  }
}
