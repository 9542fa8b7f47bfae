import { closeSync, constants, fstatSync, lstatSync, openSync, readSync, statSync, writeSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { UnavailableError } from '../jobs/errors.ts';
import type { Log } from '../jobs/ports.ts';
import { openOwnFile } from '../process/own-file.ts';
import { type RunPaths, runPaths } from './run-directory.ts';

/** Where a reader turns from standard output to standard error: everything before these bytes comes first. */
export interface Cut {
  readonly stdout: number;
  readonly stderr: number;
}

/** In what order the two files of a run are read. Only grows; what was fixed stays. */
export interface RunOrder {
  readonly cuts: readonly Cut[];
  /** Standard output may be read up to here without meeting a cut that is still to come. */
  readonly stdoutFixed: number;
  /** Where both files end for their readers; null while the run goes on. */
  readonly end: Cut | null;
}

export interface Recording {
  readonly order: RunOrder;
  /** Begins to look: the run's directory is there, and nothing in it yet. */
  start(): void;
  /** Fixes the end, on the disk too. Call when no process of the run is left; never rejects. Idempotent. */
  end(): Promise<void>;
  /** Resolves at the next change of the order, or when the signal aborts. */
  changed(signal: AbortSignal): Promise<void>;
  /** While somebody reads, the files are looked at more often. */
  attend(): Disposable;
}

/** Runs go by the names of `runName`. */
export interface RunRecorder {
  /** From now on the run of this name is one that others can read. */
  begin(name: string): Recording;
  /** As `begin`, for a run of an earlier process that goes on: what that process fixed stays. */
  resume(name: string): Recording;
  /** The recording of a run that has not ended here. */
  current(name: string): Recording | undefined;
  /** The order of a run that is over; fixes its end if the process died before it could. */
  sealed(name: string): RunOrder;
}

/** How late live output is: with readers, and without, when it only has to be found in its order. */
const attendedMs = 20;
const unattendedMs = 250;
/** Of changes between the two outputs: past it standard error comes at the end. Bounds memory, at 24 bytes of file each. */
const maxCuts = 10_000;
/** More than the lines of all cuts take. */
const maxOrderBytes = 1024 * 1024;
const { O_APPEND, O_CREAT, O_NOFOLLOW, O_NONBLOCK, O_WRONLY } = constants;
const appending = O_APPEND | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_WRONLY;
/** The semicolon tells a whole line from one that a crash cut short. */
const cutPattern = /^(at|end) (\d{1,15}) (\d{1,15});$/;

/**
 * Decides, while a run goes on, how its two outputs interleave, and writes each decision down before any reader can see it: so
 * a reader after a restart sees the same order. A run without standard error costs one line of file.
 */
export function createRunRecorder({ runsDir, log }: { readonly runsDir: string; readonly log: Log }): RunRecorder {
  const recordings = new Map<string, Recording>();
  const record = (name: string, cuts: readonly Cut[]): Recording => {
    const recording = createRecording(runPaths(runsDir, name), log, cuts, () => {
      if (recordings.get(name) === recording) recordings.delete(name);
    });
    recordings.set(name, recording);
    return recording;
  };
  return {
    begin: (name) => record(name, []),
    resume: (name) => recordings.get(name) ?? record(name, readOrder(runPaths(runsDir, name).order).cuts),
    current: (name) => recordings.get(name),
    sealed(name) {
      const paths = runPaths(runsDir, name);
      const order = readOrder(paths.order);
      if (order.end !== null) return order;
      const end = sizesOf(paths);
      // Without a directory nothing was printed, and there is nowhere to write that down.
      if (statSync(paths.directory, { throwIfNoEntry: false }) !== undefined) seal(paths, end);
      return { ...order, end };
    },
  };
}

/** Until the end is on the disk nobody may be told where it is: another reader could find another one. */
function seal(paths: RunPaths, end: Cut): void {
  try {
    writeLine(paths.order, 'end', end);
  } catch (error) {
    throw new UnavailableError('The log of this job cannot be read now', { cause: error });
  }
}

function createRecording(paths: RunPaths, log: Log, cuts: readonly Cut[], onEnd: () => void): Recording {
  const order = { cuts: [...cuts], stdoutFixed: 0, end: null as Cut | null };
  const change = createChange();
  let timer: NodeJS.Timeout | undefined;
  let readers = 0;
  let ending: Promise<void> | undefined;

  const look = (): void => {
    try {
      if (fixMore(order, paths)) change.tell();
    } catch (error) {
      // Readers wait until it can be written: the next look tries again.
      log.debug({ err: error }, 'the order of a log could not be written');
    }
  };
  const schedule = (): void => {
    clearInterval(timer);
    if (ending === undefined) timer = setInterval(look, readers > 0 ? attendedMs : unattendedMs).unref();
  };
  const count = (by: 1 | -1): void => {
    readers += by;
    const isFirstOrLast = readers === (by === 1 ? 1 : 0);
    if (isFirstOrLast && timer !== undefined) schedule();
  };
  const finish = async (): Promise<void> => {
    clearInterval(timer);
    order.end = await fixEnd(paths, log);
    order.stdoutFixed = order.end.stdout;
    onEnd();
    change.tell();
  };

  return {
    order,
    start: schedule,
    end: () => (ending ??= finish()),
    changed: (signal) => (order.end === null ? change.wait(signal) : Promise.resolve()),
    attend() {
      count(1);
      return { [Symbol.dispose]: () => count(-1) };
    },
  };
}

/** Fixes the order of what is in the files now; false if there is nothing new. */
function fixMore(order: { readonly cuts: Cut[]; stdoutFixed: number }, paths: RunPaths): boolean {
  const now = sizesOf(paths);
  const isCut = now.stderr > (order.cuts.at(-1)?.stderr ?? 0) && order.cuts.length < maxCuts;
  if (!isCut && now.stdout <= order.stdoutFixed) return false;
  if (isCut) {
    writeLine(paths.order, 'at', now);
    order.cuts.push(now);
  }
  order.stdoutFixed = Math.max(order.stdoutFixed, now.stdout);
  return true;
}

async function fixEnd(paths: RunPaths, log: Log): Promise<Cut> {
  const end = sizesOf(paths);
  try {
    writeLine(paths.order, 'end', end);
    await Promise.all([paths.stdout, paths.stderr, paths.order].map(syncFile));
  } catch (error) {
    log.warn({ err: error }, 'the end of a log could not be written; its first reader tries again');
  }
  return end;
}

/** Wakes all who wait for the next change. */
function createChange() {
  let next = Promise.withResolvers<void>();
  return {
    tell(): void {
      next.resolve();
      next = Promise.withResolvers();
    },
    async wait(signal: AbortSignal): Promise<void> {
      const aborted = Promise.withResolvers<void>();
      const onAbort = (): void => aborted.resolve();
      signal.addEventListener('abort', onAbort, { once: true });
      if (signal.aborted) onAbort();
      await Promise.race([next.promise, aborted.promise]);
      signal.removeEventListener('abort', onAbort);
    },
  };
}

/** A line that a crash tore is no decision: no reader had seen it. */
function readOrder(path: string): RunOrder {
  const cuts: Cut[] = [];
  for (const line of readIfThere(path).split('\n')) {
    const [, what, stdout, stderr] = cutPattern.exec(line) ?? [];
    const cut = { stdout: Number(stdout), stderr: Number(stderr) };
    if (what === 'end') return { cuts, stdoutFixed: cut.stdout, end: cut };
    if (what === 'at') cuts.push(cut);
  }
  return { cuts, stdoutFixed: 0, end: null };
}

/** Begins with a line break, so that it never joins a torn line. Throws where the agent put something else in the file's place. */
function writeLine(path: string, what: 'at' | 'end', { stdout, stderr }: Cut): void {
  const fd = openSync(path, appending, 0o600);
  try {
    if (!fstatSync(fd).isFile()) throw new Error('the order of the log is not a file');
    writeSync(fd, `\n${what} ${stdout} ${stderr};\n`);
  } finally {
    closeSync(fd);
  }
}

/** An agent may do to its files what it likes: a link is as good as empty. */
function sizesOf(paths: RunPaths): Cut {
  const size = (path: string): number => {
    const stat = lstatSync(path, { throwIfNoEntry: false });
    return stat?.isFile() === true ? stat.size : 0;
  };
  return { stdout: size(paths.stdout), stderr: size(paths.stderr) };
}

function readIfThere(path: string): string {
  const fd = openOwnFile(path);
  if (fd === null) return '';
  try {
    const bytes = Buffer.alloc(maxOrderBytes);
    return bytes.toString('latin1', 0, readSync(fd, bytes, 0, maxOrderBytes, 0));
  } finally {
    closeSync(fd);
  }
}

/** A file that is not there holds nothing to be kept. */
async function syncFile(path: string): Promise<void> {
  const file = await open(path, 'r').catch(() => null);
  if (file === null) return;
  try {
    await file.datasync();
  } finally {
    await file.close();
  }
}
