import { randomUUID } from 'node:crypto';
import { mkdir, readdir, rename, rmdir, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import type { JobId } from '../jobs/job.ts';
import { isJobId } from '../jobs/job-id.ts';
import type { Log } from '../jobs/ports.ts';
import { removeTree } from '../process/remove-tree.ts';

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
  /** Takes the agent's own files away and leaves the logs. Never rejects: what it cannot remove is left to `sweep`. */
  release(name: string): Promise<void>;
  /** Takes all of it away. Never rejects. */
  remove(name: string): Promise<void>;
  /** The jobs whose runs are here and not under way. */
  idle(): Promise<readonly JobId[]>;
  /** Takes away what a dead process left: trash, what `known` does not know, and of the rest the agent's own files. */
  sweep(known: (id: JobId) => Promise<boolean>): Promise<void>;
}

const trashPrefix = '.trash-';
/** Far below what a command line may hold. */
const maxRemovedAtOnce = 200;
/** Names that are not a job's: made for a moment, and trash after a restart. */
export const scratchPrefix = '.check-';

export function createRunDirectories(runsDir: string, log: Log): RunDirectories {
  // The agent is told these paths, and stands elsewhere.
  const root = resolve(runsDir);
  const removeLater = createRemover(log);
  /** Created here and not yet released. */
  const inUse = new Set<string>();

  const discard = async (...paths: readonly string[]): Promise<void> => {
    try {
      // Out of sight at once. The new parent is ours: an agent that put a link in a directory's place moves only the link.
      const trash = join(root, `${trashPrefix}${randomUUID()}`);
      await mkdir(trash, { recursive: true, mode: 0o700 });
      const moved = await Promise.all(paths.map((path, i) => moveIfThere(path, join(trash, String(i)))));
      if (moved.includes(true)) removeLater(trash);
      else await rmdir(trash);
    } catch (error) {
      log.warn({ err: error, paths }, 'a directory could not be moved away; the next start tries again');
    }
  };
  const paths = (name: string): RunPaths => runPaths(root, name);

  return {
    paths,
    hold: (name) => void inUse.add(name),
    async create(name, input) {
      const run = paths(name);
      inUse.add(name);
      await mkdir(root, { recursive: true, mode: 0o700 });
      if (!(await makeDirectory(run.directory))) {
        await discard(run.directory);
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
      await discard(paths(name).directory);
      inUse.delete(name);
    },
    idle: async () => (await entries(root)).filter(isJobId).filter((id) => !inUse.has(id)),
    async sweep(known) {
      for (const name of await entries(root)) {
        if (inUse.has(name)) continue;
        if (name.startsWith(trashPrefix)) removeLater(join(root, name));
        else if (name.startsWith(scratchPrefix)) await discard(paths(name).directory);
        else if (isJobId(name) && (await known(name))) await discard(paths(name).config, paths(name).tmp);
        else if (isJobId(name)) await discard(paths(name).directory);
      }
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

/** Removes in the background, one process at a time for all that came meanwhile: more would compete with the agents. */
function createRemover(log: Log): (path: string) => void {
  const waste: string[] = [];
  let removing = false;
  const removeWaste = async (): Promise<void> => {
    removing = true;
    while (waste.length > 0) {
      const paths = waste.splice(0, maxRemovedAtOnce);
      const error = await removeTree(...paths);
      if (error !== null) log.warn({ err: error, paths }, 'not all could be removed; the next start tries again');
    }
    removing = false;
  };
  return (path) => {
    waste.push(path);
    if (!removing) void removeWaste();
  };
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
