import { constants, type FileHandle, open } from 'node:fs/promises';
import { setImmediate } from 'node:timers/promises';
import type { Command } from './command.ts';
import {
  type AdoptedFiles,
  type Adoption,
  type ContainedEnd,
  type ContainedProcess,
  type Containment,
  type Launch,
  neverRan,
  type ProcessLimits,
} from './containment.ts';
import { createGroupContainment } from './group-containment.ts';

export interface ProcessOptions
  extends Omit<ProcessLimits, 'idleMs'>,
    Partial<Pick<ProcessLimits, 'idleMs'>>,
    Pick<Launch, 'access' | 'survives' | 'mark' | 'recordFile' | 'exitFile' | 'onSpawn'> {
  readonly command: Command;
  /** Read from its start. */
  readonly stdinFile: string;
  /** Appended to; made, for the owner alone, where it is absent. */
  readonly stdoutFile: string;
  readonly stderrFile: string;
  /** Once aborted, there is no grace: what is being ended is killed now, what is ended later is killed at once. */
  readonly hurry?: AbortSignal;
  readonly containment?: Containment;
}

export interface ProcessExit extends ContainedEnd {
  /** Epoch milliseconds. */
  readonly startedAt: number;
  readonly durationMs: number;
}

const appending = constants.O_WRONLY | constants.O_APPEND | constants.O_CREAT;

/**
 * Runs a program to its end and never rejects. Its streams are files: a pipe loses output when its reader stalls, and keeps
 * us waiting as long as any escaped descendant holds it. On timeout, silence, abort or too much output its tree gets SIGINT,
 * SIGTERM and SIGKILL within the grace; at every end, also its own, what is left of the tree is killed.
 */
export async function runProcess(options: ProcessOptions, signal: AbortSignal): Promise<ProcessExit> {
  const startedAt = Date.now();
  const start = performance.now();
  const end = await runWithFiles(options, signal);
  return { ...end, startedAt, durationMs: performance.now() - start };
}

/** Takes over a program that an earlier process started with `survives`, until its end. Never rejects. */
export async function adoptRun(
  adoption: Adoption,
  options: AdoptedFiles & Pick<ProcessOptions, 'hurry'>,
  signal: AbortSignal,
): Promise<ProcessExit> {
  const start = performance.now();
  const startedAt = Date.now();
  const end = await attend(adoption.take(options), options.hurry, signal);
  return { ...end, startedAt, durationMs: performance.now() - start };
}

async function runWithFiles(options: ProcessOptions, signal: AbortSignal): Promise<ContainedEnd> {
  if (signal.aborted) return { ...neverRan, endedBy: reasonOf(signal) };
  const opened: FileHandle[] = [];
  // Never in the event loop: to make a file may wait for seconds for a disk that is being written to.
  const openFile = async (path: string, flags: number): Promise<number> => {
    const handle = await open(path, flags, 0o600);
    opened.push(handle);
    return handle.fd;
  };
  try {
    const streams = {
      stdin: await openFile(options.stdinFile, constants.O_RDONLY),
      stdout: await openFile(options.stdoutFile, appending),
      stderr: await openFile(options.stderrFile, appending),
    };
    return await runContained(options, streams, signal);
  } catch (error) {
    return { ...neverRan, spawnError: error instanceof Error ? error : new Error(String(error)) };
  } finally {
    await Promise.all(opened.map((handle) => handle.close()));
  }
}

async function runContained(
  options: ProcessOptions,
  streams: Launch['streams'],
  signal: AbortSignal,
): Promise<ContainedEnd> {
  await nextTurn();
  if (signal.aborted) return { ...neverRan, endedBy: reasonOf(signal) };
  const { command, timeoutMs, idleMs = null, maxOutputBytes, graceMs, hurry } = options;
  const { access, survives, mark, recordFile, exitFile, onSpawn } = options;
  const limits = { timeoutMs, idleMs, maxOutputBytes, graceMs };
  const containment = options.containment ?? createGroupContainment();
  const program = containment.start({
    command,
    streams,
    limits,
    access,
    survives,
    mark,
    recordFile,
    exitFile,
    onSpawn,
  });
  return await attend(program, hurry, signal);
}

/** The turns that were asked for end here. */
let turns: Promise<void> = Promise.resolve();

/** One start per turn of the event loop: each stops it for milliseconds, and whoever else waits is to be served in between. */
async function nextTurn(): Promise<void> {
  const turn = turns.then(async () => await setImmediate());
  turns = turn;
  await turn;
}

/** Ends a program when the signal aborts, and waits for its end. */
export async function attend(
  program: ContainedProcess,
  hurry: AbortSignal | undefined,
  signal: AbortSignal,
): Promise<ContainedEnd> {
  const aborted = (): void => program.end(reasonOf(signal));
  signal.addEventListener('abort', aborted, { once: true });
  hurry?.addEventListener('abort', program.hurry, { once: true });
  if (hurry?.aborted) program.hurry();
  if (signal.aborted) aborted();
  try {
    return await program.ended;
  } finally {
    signal.removeEventListener('abort', aborted);
    hurry?.removeEventListener('abort', program.hurry);
  }
}

function reasonOf(signal: AbortSignal): string {
  return typeof signal.reason === 'string' ? signal.reason : 'aborted';
}
