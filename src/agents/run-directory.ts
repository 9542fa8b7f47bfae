import { randomUUID } from 'node:crypto';
import { lstatSync } from 'node:fs';
import { mkdir, readdir, rename, rmdir, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { type JobId, maxAttempts } from '../jobs/job.ts';
import { isJobId } from '../jobs/job-id.ts';
import type { Log } from '../jobs/ports.ts';
import type { Remover } from '../process/remover.ts';

/** The files of one run, all in one directory of its own. */
export interface RunPaths {
  readonly directory: string;
  readonly prompt: string;
  readonly systemPrompt: string;
  /** The earlier turns of a conversation. */
  readonly history: string;
  readonly stdout: string;
  readonly stderr: string;
  /** Held by the supervisor as long as it lives. */
  readonly record: string;
  /** How the supervisor's program ended: there, and whole, once it has. */
  readonly exit: string;
  /** In what order the two are read: see `run-recorder.ts`. */
  readonly order: string;
  /** Where the agent keeps its own files; gone when the run is over. */
  readonly config: string;
  readonly tmp: string;
}

/** What an agent reads; a file that is null is not made. */
export interface RunInput {
  readonly prompt: string;
  readonly systemPrompt: string | null;
  readonly history: string | null;
}

export interface RunDirectories {
  paths(name: string): RunPaths;
  /** The directory that an earlier process made is in use: `sweep` leaves it alone until it is released. */
  hold(name: string): void;
  /** Makes an empty directory for a run; what an earlier attempt left is put away. */
  create(name: string, input: RunInput): Promise<RunPaths>;
  /** Lays down what a run reads in a directory that was made before its job was there. */
  fill(name: string, input: RunInput): Promise<RunPaths>;
  /** Takes the agent's own files away and leaves the logs. Never rejects: what cannot be moved is tried again later. */
  release(name: string): Promise<void>;
  /** Takes all of it away, of a job all attempts. Never rejects. */
  remove(name: string): Promise<void>;
  /** The jobs whose runs are here and not under way. */
  idle(): Promise<readonly JobId[]>;
  /** Takes away what a dead process left: trash, what `known` does not know, and of the rest the agent's own files. */
  sweep(known: (id: JobId) => Promise<boolean>): Promise<void>;
}

const trashPrefix = '.trash-';
/** Of ten thousand kept runs nearly none has anything to be taken away: they are asked for together. */
const sweptAtOnce = 100;
/** Names that are not a job's: made for a moment, and trash after a restart. */
export const scratchPrefix = '.check-';

export function createRunDirectories(runsDir: string, remover: Remover, log: Log): RunDirectories {
  // The agent is told these paths, and stands elsewhere.
  const root = resolve(runsDir);
  /** Created here and not yet released. */
  const inUse = new Set<string>();

  const discard = createDiscard(root, remover, log);
  const paths = (name: string): RunPaths => runPaths(root, name);

  return {
    paths,
    hold: (name) => void inUse.add(name),
    async create(name, input) {
      const run = paths(name);
      inUse.add(name);
      await mkdir(root, { recursive: true, mode: 0o700 });
      if (!(await makeDirectory(run.directory))) {
        await moveAway(root, [run.directory], remover);
        await mkdir(run.directory, { mode: 0o700 });
      }
      await Promise.all([mkdir(run.config, { mode: 0o700 }), mkdir(run.tmp, { mode: 0o700 }), writeInputs(run, input)]);
      return run;
    },
    async fill(name, input) {
      const run = paths(name);
      await writeInputs(run, input);
      return run;
    },
    async release(name) {
      await discard(paths(name).config, paths(name).tmp);
      inUse.delete(name);
    },
    async remove(name) {
      await discard(...attemptNames(name).map((one) => paths(one).directory));
      inUse.delete(name);
    },
    async idle() {
      const busy = new Set([...inUse].map(jobIdOf));
      const ids = new Set((await entries(root)).map(jobIdOf));
      return [...ids].filter((id) => id !== null).filter((id) => !busy.has(id));
    },
    async sweep(known) {
      const put = async (name: string): Promise<void> => {
        const id = jobIdOf(name);
        if (name.startsWith(trashPrefix)) remover.remove(join(root, name));
        else if (name.startsWith(scratchPrefix)) await discard(paths(name).directory);
        else if (id !== null && !(await known(id))) await discard(paths(name).directory);
        else if (id !== null) await discard(...[paths(name).config, paths(name).tmp].filter(isThere));
      };
      const left = (await entries(root)).filter((name) => !inUse.has(name));
      await inBatches(left, put);
    },
  };
}

async function writeInputs(run: RunPaths, { prompt, systemPrompt, history }: RunInput): Promise<void> {
  await Promise.all([
    writeFile(run.prompt, prompt, { mode: 0o600 }),
    ...(systemPrompt === null ? [] : [writeFile(run.systemPrompt, systemPrompt, { mode: 0o600 })]),
    ...(history === null ? [] : [writeFile(run.history, history, { mode: 0o600 })]),
  ]);
}

/** Takes paths out of sight at once and removes them later. Never rejects. */
function createDiscard(root: string, remover: Remover, log: Log) {
  return async function discard(...paths: readonly string[]): Promise<void> {
    if (paths.length === 0) return;
    for (const [path, error] of await moveAway(root, paths, remover)) {
      if (error === null) {
        remover.settle(path);
        continue;
      }
      log.warn({ err: error, path }, 'a directory could not be moved away; it is tried again later');
      remover.setAside(path, () => void discard(path));
    }
  };
}

async function inBatches(names: readonly string[], put: (name: string) => Promise<void>): Promise<void> {
  for (let from = 0; from < names.length; from += sweptAtOnce) {
    await Promise.all(names.slice(from, from + sweptAtOnce).map(put));
  }
}

/**
 * Out of sight at once, and removed later. The new parent is ours: an agent that put a link in a directory's place moves only
 * the link. Never rejects: answers for each why it is still there, or null.
 */
async function moveAway(
  root: string,
  paths: readonly string[],
  remover: Remover,
): Promise<readonly (readonly [path: string, error: unknown])[]> {
  // An agent that kept nothing leaves empty directories: those cost no process, and not even a rename.
  const areGone = await Promise.all(paths.map(removeEmpty));
  const full = paths.filter((_, i) => areGone[i] !== true);
  const gone = paths.filter((_, i) => areGone[i] === true).map((path) => [path, null] as const);
  if (full.length === 0) return gone;
  const trash = join(root, `${trashPrefix}${randomUUID()}`);
  try {
    await mkdir(trash, { recursive: true, mode: 0o700 });
  } catch (error) {
    return [...gone, ...full.map((path) => [path, error] as const)];
  }
  const moves = await Promise.allSettled(full.map((path, i) => moveIfThere(path, join(trash, String(i)))));
  // Nothing could be moved.
  if (!(await removeEmpty(trash))) remover.remove(trash);
  const tried = moves.map((move, i) => [full[i] ?? '', move.status === 'rejected' ? move.reason : null] as const);
  return [...gone, ...tried];
}

/** A link counts as itself, and what cannot be looked at is there. */
function isThere(path: string): boolean {
  try {
    return lstatSync(path, { throwIfNoEntry: false }) !== undefined;
  } catch {
    // An agent closed the directory: whoever moves it away says what is wrong.
    return true;
  }
}

/** What a run is called: the first attempt like its job, and each has a directory of its own. */
export function runName(id: JobId, attempt = 1): string {
  return attempt <= 1 ? id : `${id}.${attempt}`;
}

function attemptNames(name: string): readonly string[] {
  return isJobId(name) ? Array.from({ length: maxAttempts }, (_, n) => runName(name, n + 1)) : [name];
}

/** The job whose attempt has this name; null for what is no run. */
function jobIdOf(name: string): JobId | null {
  const id = name.replace(/\.\d$/, '');
  return isJobId(id) ? id : null;
}

/** Where the files of a run are, whether or not they are there. `runsDir` is absolute, or the agent could not use them. */
export function runPaths(runsDir: string, name: string): RunPaths {
  const directory = join(runsDir, name);
  const file = (base: string): string => join(directory, base);
  return {
    directory,
    prompt: file('prompt'),
    systemPrompt: file('system-prompt'),
    history: file('history.jsonl'), // the CLI takes a path by this ending
    stdout: file('stdout.log'),
    stderr: file('stderr.log'),
    record: file('supervisor.json'),
    exit: file('exit.json'),
    order: file('order'),
    config: file('config'),
    tmp: file('tmp'),
  };
}

/** False if it was there. */
async function makeDirectory(path: string): Promise<boolean> {
  try {
    await mkdir(path, { mode: 0o700 });
    return true;
  } catch (error) {
    if (hasCode(error, 'EEXIST')) return false;
    throw error;
  }
}

/** False if there was nothing to move. */
async function moveIfThere(from: string, to: string): Promise<boolean> {
  try {
    await rename(from, to);
    return true;
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return false;
    throw error;
  }
}

/** Without a process. False if it is there still. */
async function removeEmpty(directory: string): Promise<boolean> {
  return await rmdir(directory).then(
    () => true,
    (error: unknown) => hasCode(error, 'ENOENT'),
  );
}

async function entries(directory: string): Promise<readonly string[]> {
  try {
    return await readdir(directory);
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return [];
    throw error;
  }
}

function hasCode(error: unknown, code: string): boolean {
  return error instanceof Error && 'code' in error && error.code === code;
}
