import { fstatSync } from 'node:fs';
import { constants, type FileHandle, open } from 'node:fs/promises';
import { execa } from 'execa';
import type { Command } from './command.ts';
import { type Containment, createGroupContainment, type ProcessTree } from './process-tree.ts';

export interface ProcessOptions {
  readonly command: Command;
  /** Read from its start. */
  readonly stdinFile: string;
  /** Appended to; made, for the owner alone, where it is absent. */
  readonly stdoutFile: string;
  readonly stderrFile: string;
  readonly timeoutMs: number;
  /** From the first signal to SIGKILL. */
  readonly graceMs: number;
  /** Once aborted, there is no grace: what is being ended is killed now, what is ended later is killed at once. */
  readonly hurry?: AbortSignal;
  /** Both files together. A fast writer gets past it by what it writes between two looks. */
  readonly maxOutputBytes: number;
  readonly containment?: Containment;
  readonly onSpawn?: (pid: number) => void;
}

export interface ProcessExit {
  /** Null if a signal ended it, or if it never ran. */
  readonly exitCode: number | null;
  readonly signal: NodeJS.Signals | null;
  /** Who ended it, if we did: `timeout`, `output_limit`, or the reason that the abort signal carried. */
  readonly endedBy: string | null;
  /** Why it never ran. */
  readonly spawnError: Error | null;
  /** Epoch milliseconds. */
  readonly startedAt: number;
  readonly durationMs: number;
}

interface Files {
  readonly stdin: FileHandle;
  readonly stdout: FileHandle;
  readonly stderr: FileHandle;
}

type End = Pick<ProcessExit, 'exitCode' | 'signal' | 'endedBy' | 'spawnError'>;

/** Often enough to bound what a flood writes, and next to free: two calls that read nothing. */
const outputCheckMs = 250;
/** When SIGTERM follows SIGINT: the first of the two lets an agent report its cost, the second most programs know. */
const termShareOfGrace = 0.4;

const appending = constants.O_WRONLY | constants.O_APPEND | constants.O_CREAT;
const neverRan: End = { exitCode: null, signal: null, endedBy: null, spawnError: null };

/**
 * Runs a program to its end and never rejects. Its streams are files: a pipe loses output when its reader stalls, and keeps
 * us waiting as long as any escaped descendant holds it. On timeout, abort or too much output its tree gets SIGINT, SIGTERM
 * and SIGKILL within the grace; at every end, also its own, what is left of the tree is killed.
 */
export async function runProcess(options: ProcessOptions, signal: AbortSignal): Promise<ProcessExit> {
  const startedAt = Date.now();
  const start = performance.now();
  const end = await runWithFiles(options, signal);
  return { ...end, startedAt, durationMs: performance.now() - start };
}

async function runWithFiles(options: ProcessOptions, signal: AbortSignal): Promise<End> {
  if (signal.aborted) return { ...neverRan, endedBy: reasonOf(signal) };
  const opened: FileHandle[] = [];
  const openFile = async (path: string, flags: number): Promise<FileHandle> => {
    const handle = await open(path, flags, 0o600);
    opened.push(handle);
    return handle;
  };
  try {
    const files = {
      stdin: await openFile(options.stdinFile, constants.O_RDONLY),
      stdout: await openFile(options.stdoutFile, appending),
      stderr: await openFile(options.stderrFile, appending),
    };
    return await supervise(options, files, signal);
  } catch (error) {
    return { ...neverRan, spawnError: error instanceof Error ? error : new Error(String(error)) };
  } finally {
    await Promise.all(opened.map((handle) => handle.close()));
  }
}

async function supervise(options: ProcessOptions, files: Files, signal: AbortSignal): Promise<End> {
  if (signal.aborted) return { ...neverRan, endedBy: reasonOf(signal) };
  const child = spawn(options.command, files);
  if (child.pid === undefined) {
    const { cause, originalMessage } = await child;
    return { ...neverRan, spawnError: cause instanceof Error ? cause : new Error(originalMessage) };
  }
  const tree = (options.containment ?? createGroupContainment()).tree(child.pid);
  const watch = watchLimits(options, files, tree, signal);
  try {
    options.onSpawn?.(child.pid);
    const { exitCode, signal: killedBy } = await child;
    return { exitCode: exitCode ?? null, signal: killedBy ?? null, endedBy: watch.endedBy(), spawnError: null };
  } finally {
    watch.stop();
    await tree.end();
  }
}

/** The child holds the only other copies of the descriptors; ours are kept to look at the size of what it writes. */
function spawn({ file, args, env, cwd }: Command, { stdin, stdout, stderr }: Files) {
  return execa(file, args, {
    cwd,
    env,
    extendEnv: false,
    stdio: [descriptor(stdin), descriptor(stdout), descriptor(stderr)],
    detached: true,
    cleanup: false,
    buffer: false,
    reject: false,
  });
}

/** execa takes any descriptor; its types know the numbers 3 to 9 alone. */
function descriptor(file: FileHandle): 3 {
  return file.fd as 3;
}

/** Ends the tree at the first limit that is hit, and remembers which one that was. */
function watchLimits(options: ProcessOptions, files: Files, tree: ProcessTree, signal: AbortSignal) {
  let endedBy: string | null = null;
  let ladder: readonly NodeJS.Timeout[] = [];
  const end = (reason: string): void => {
    if (endedBy !== null) return;
    endedBy = reason;
    ladder = startLadder(tree, options.hurry?.aborted ? 0 : options.graceMs);
  };
  const hurried = (): void => {
    if (endedBy !== null) tree.signal('SIGKILL');
  };
  const overflows = (): boolean => sizeOf(files.stdout) + sizeOf(files.stderr) > options.maxOutputBytes;
  const aborted = (): void => end(reasonOf(signal));
  const deadline = setTimeout(end, options.timeoutMs, 'timeout');
  const sizeCheck = setInterval(() => overflows() && end('output_limit'), outputCheckMs);
  signal.addEventListener('abort', aborted, { once: true });
  options.hurry?.addEventListener('abort', hurried, { once: true });
  return {
    /** Asked after the end: a short flood must not depend on when we looked. */
    endedBy: (): string | null => endedBy ?? (overflows() ? 'output_limit' : null),
    stop(): void {
      signal.removeEventListener('abort', aborted);
      options.hurry?.removeEventListener('abort', hurried);
      for (const timer of [deadline, sizeCheck, ...ladder]) clearTimeout(timer);
    },
  };
}

function startLadder(tree: ProcessTree, graceMs: number): readonly NodeJS.Timeout[] {
  if (graceMs === 0) {
    tree.signal('SIGKILL');
    return [];
  }
  tree.signal('SIGINT');
  return [
    setTimeout(() => tree.signal('SIGTERM'), graceMs * termShareOfGrace),
    setTimeout(() => tree.signal('SIGKILL'), graceMs),
  ];
}

function sizeOf(file: FileHandle): number {
  return fstatSync(file.fd).size;
}

function reasonOf(signal: AbortSignal): string {
  return typeof signal.reason === 'string' ? signal.reason : 'aborted';
}
