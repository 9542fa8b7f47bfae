import { chmod, mkdir, mkdtemp, readdir, readFile, realpath, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach } from 'vitest';
import { createJobId } from '../../src/jobs/job-id.ts';
import type { Log, Workspace } from '../../src/jobs/ports.ts';
import { removeTree } from '../../src/process/remove-tree.ts';
import {
  createWorkspaceManager,
  type GitWorkspaces,
  type WorkspaceOptions,
} from '../../src/workspaces/workspace-manager.ts';
import { gitEnv } from '../helpers/git-repo.ts';
import { waitFor } from '../helpers/wait.ts';

export interface LogLine {
  readonly level: 'debug' | 'info' | 'warn' | 'error';
  readonly message: string;
  readonly fields: object;
}

export const never = new AbortController().signal;

const cleanups: (() => Promise<unknown>)[] = [];

/** Closes what the test made, last first. Called once by each test file. */
export function cleanUpAfterEach(): void {
  afterEach(async () => {
    for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
  });
}

/** To be carried out when the test is over, before what was made before it goes. */
export function cleanUpLater(cleanup: () => Promise<unknown>): void {
  cleanups.push(cleanup);
}

/** A directory that goes when the test does. */
export async function temporaryDirectory(): Promise<string> {
  const path = await realpath(await mkdtemp(join(tmpdir(), 'workspaces-')));
  cleanups.push(() => removeTree(path));
  return path;
}

export function recordingLog(): Log & { readonly lines: readonly LogLine[] } {
  const lines: LogLine[] = [];
  const at = (level: LogLine['level']) => (fields: object, message: string) =>
    void lines.push({ level, message, fields });
  return { lines, debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error') };
}

export interface Fixture {
  readonly root: string;
  readonly basePath: string;
  readonly jobsDir: string;
  readonly manager: GitWorkspaces;
  readonly log: ReturnType<typeof recordingLog>;
  /** Moves the manager's clock on. */
  advance(ms: number): void;
  create(signal?: AbortSignal): Promise<Workspace>;
}

/** A manager, not yet started, over `root/base` and `root/jobs`. */
export async function createFixture(
  options: Partial<WorkspaceOptions> & { readonly root?: string } = {},
): Promise<Fixture> {
  const root = options.root ?? (await temporaryDirectory());
  const log = recordingLog();
  let now = 1_000_000;
  const paths = { basePath: join(root, 'base'), jobsDir: join(root, 'jobs'), gitCryptKey: join(root, 'no-key') };
  const kept = { scratchDir: join(root, 'scratch'), resultDir: (id: string) => join(root, 'runs', id) };
  const defaults = {
    baseUrl: null,
    baseBranch: null,
    fetchDebounceMs: 15_000,
    poolSize: 0,
    gitEnv,
    log,
    clock: { now: () => now },
  };
  const given = { ...paths, ...kept, ...defaults, ...options };
  const manager = createWorkspaceManager(given);
  cleanups.push(() => manager.close());
  return {
    root,
    basePath: given.basePath,
    jobsDir: given.jobsDir,
    manager,
    log,
    advance(ms) {
      now += ms;
    },
    create: (signal = never) => manager.create(createJobId(), signal),
  };
}

export async function startedFixture(options: Parameters<typeof createFixture>[0] = {}): Promise<Fixture> {
  const fixture = await createFixture(options);
  await fixture.manager.start(never);
  return fixture;
}

/** Resolves when nothing waits for its removal any more. */
export async function trashEmpty(jobsDir: string): Promise<void> {
  await waitFor(
    () => namesIn(join(jobsDir, '.trash')),
    (names) => names.length === 0,
    { what: 'an empty trash' },
  );
}

/** The entries of a directory; none if it is not there. */
export async function namesIn(path: string): Promise<readonly string[]> {
  return await readdir(path).catch(() => []);
}

export interface WrappedGit {
  /** To be given to the manager as `gitEnv`. */
  readonly env: Readonly<Record<string, string>>;
  /** How often git was called for this command. */
  count(command: string): Promise<number>;
  /** The processes that the `on` part reported with `echo $! >>"$PIDS"`. */
  pids(): Promise<readonly number[]>;
}

/** A `git` ahead of the real one on PATH: a shell script that notes each command and may behave badly at one of them. */
export async function wrapGit(on: Readonly<Record<string, string>> = {}): Promise<WrappedGit> {
  const directory = await temporaryDirectory();
  const calls = join(directory, 'calls');
  const pidFile = join(directory, 'pids');
  const branches = Object.entries(on).map(([command, script]) => `${command}) ${script} ;;`);
  const script = `#!/bin/sh
PIDS='${pidFile}'
command=
skip=
for argument; do
  if [ -n "$skip" ]; then skip=; continue; fi
  case $argument in -c) skip=1 ;; -*) ;; *) command=$argument; break ;; esac
done
echo "$command" >>'${calls}'
case $command in
${branches.join('\n')}
esac
PATH='${gitEnv['PATH']}' exec git "$@"
`;
  await mkdir(join(directory, 'bin'));
  await writeFile(join(directory, 'bin', 'git'), script);
  await chmod(join(directory, 'bin', 'git'), 0o755);
  const linesOf = async (path: string) => (await readFile(path, 'utf8').catch(() => '')).split('\n').filter(Boolean);
  return {
    env: { ...gitEnv, PATH: `${join(directory, 'bin')}:${gitEnv['PATH']}` },
    count: async (command) => (await linesOf(calls)).filter((line) => line === command).length,
    pids: async () => (await linesOf(pidFile)).map(Number),
  };
}

export function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false; // ESRCH: it has ended and its parent has taken note.
  }
}
