import { constants } from 'node:fs';
import { access, mkdir, readdir, stat } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { WorkspaceError } from '../jobs/errors.ts';
import type { JobId } from '../jobs/job.ts';
import { isJobId } from '../jobs/job-id.ts';
import type { Clock, Log, Workspace, WorkspaceManager } from '../jobs/ports.ts';
import { type BaseRepo, type BaseState, createBaseRepo } from './base-repo.ts';
import { cloneBase, headOf } from './clone.ts';
import { createGit, type Git, GitError } from './git.ts';
import { unlock } from './git-crypt.ts';
import { createMutex } from './mutex.ts';
import { createRemoval, type Removal } from './removal.ts';

export interface WorkspaceOptions {
  /** The warm base clone: used as it is if it is a repository, else made there. */
  readonly basePath: string;
  /** Where a base that is not there is cloned from; null: an empty repository is made. May hold credentials. */
  readonly baseUrl: string | null;
  /** The branch that the base follows; null: the remote's own. */
  readonly baseBranch: string | null;
  readonly jobsDir: string;
  readonly fetchDebounceMs: number;
  /** Unlocks each clone if the file exists. */
  readonly gitCryptKey: string;
  /** All that git sees of the environment. */
  readonly gitEnv: Readonly<Record<string, string>>;
  readonly log: Log;
  readonly clock: Clock;
}

export interface GitWorkspaces extends WorkspaceManager {
  /** Finds or makes the base. Rejects only with the signal's reason: what else goes wrong is told by `check` and tried again. */
  start(signal: AbortSignal): Promise<void>;
  /** How many workspaces could not be removed since the start. */
  quarantined(): number;
}

/** Beyond one clone per core all of them only get slower; below two, the disk idles while a clone computes. */
const parallelClones = Math.max(2, availableParallelism());
/** A clone that stumbled over a fetch is made again this often: a third collision in a row is something else. */
const cloneAttempts = 3;

/** Workspaces as full clones of one base repository. */
export function createWorkspaceManager(options: WorkspaceOptions): GitWorkspaces {
  const paths = { basePath: resolve(options.basePath), jobsDir: resolve(options.jobsDir) };
  const ceilings = [dirname(paths.basePath), dirname(paths.jobsDir)];
  const git = createGit({ env: options.gitEnv, safeDirectory: paths.basePath, ceilings });
  const base = createBaseRepo({ ...options, ...paths, git });
  const removal = createRemoval({ jobsDir: paths.jobsDir, log: options.log });
  const create = createCloning({ ...options, ...paths, git, base, removal });
  const adopted = new Set<string>();
  return {
    create,
    start: (signal) => start(paths, base, options.log, signal),
    adopt(id) {
      adopted.add(id);
      return workspace(id, join(paths.jobsDir, id), null, removal);
    },
    async sweep() {
      await removal.emptyTrash();
      const left = (await readdir(paths.jobsDir)).filter((name) => isJobId(name) && !adopted.has(name));
      await Promise.all(left.map(removal.discard));
    },
    check: async () => (await base.check()) ?? (await checkJobsDir(paths.jobsDir)),
    quarantined: removal.quarantined,
    async close() {
      base.close();
      await removal.close();
    },
  };
}

interface CloningDeps extends WorkspaceOptions {
  readonly git: Git;
  readonly base: BaseRepo;
  readonly removal: Removal;
}

function createCloning(deps: CloningDeps): WorkspaceManager['create'] {
  const { jobsDir, base, removal } = deps;
  const clones = createMutex(parallelClones);

  async function create(id: JobId, signal: AbortSignal): Promise<Workspace> {
    if (!isJobId(id)) throw new WorkspaceError('A workspace needs the id of a job');
    const state = await base.current(signal);
    return await clones.run(() => make(id, state, signal), signal);
  }

  async function make(id: JobId, state: BaseState, signal: AbortSignal): Promise<Workspace> {
    const path = join(jobsDir, id);
    await makeDirectory(path);
    try {
      await cloneSteadily(id, path, state, signal);
      await unlock({ path, keyFile: resolve(deps.gitCryptKey), gitEnv: deps.gitEnv }, signal);
      const baseCommit = await headOf(deps.git, path, signal);
      signal.throwIfAborted();
      return workspace(id, path, baseCommit, removal);
    } catch (error) {
      await removal.discard(id);
      signal.throwIfAborted();
      if (error instanceof WorkspaceError) throw error;
      throw new WorkspaceError('The base repository could not be cloned for the job', { cause: error });
    }
  }

  /** A clone reads the base while a fetch may be renaming files in it: if both met, the clone is made again. */
  async function cloneSteadily(id: JobId, path: string, state: BaseState, signal: AbortSignal): Promise<void> {
    for (let attempt = 1; ; attempt += 1) {
      const epoch = base.epoch();
      try {
        return await cloneBase(deps.git, state, path, signal);
      } catch (error) {
        const calm = base.epoch() === epoch && epoch % 2 === 0;
        if (calm || attempt === cloneAttempts || !(error instanceof GitError) || signal.aborted) throw error;
        deps.log.warn({ job_id: id, attempt, err: error }, 'clone met a fetch, trying again');
        await removal.discard(id);
        await makeDirectory(path);
      }
    }
  }

  return create;
}

function workspace(id: JobId, path: string, baseCommit: string | null, removal: Removal): Workspace {
  let disposed: Promise<void> | null = null;
  return {
    path,
    baseCommit,
    [Symbol.asyncDispose]: () => {
      disposed ??= removal.discard(id);
      return disposed;
    },
  };
}

/** Fails if it is there: what is in it belongs to somebody else, and must not be taken for a failed clone. */
async function makeDirectory(path: string): Promise<void> {
  try {
    await mkdir(path, { mode: 0o700 });
  } catch (error) {
    throw new WorkspaceError('The workspace could not be made in JOBS_DIR', { cause: error });
  }
}

interface Paths {
  readonly basePath: string;
  readonly jobsDir: string;
}

async function start({ basePath, jobsDir }: Paths, base: BaseRepo, log: Log, signal: AbortSignal): Promise<void> {
  try {
    await mkdir(jobsDir, { recursive: true, mode: 0o700 });
  } catch (error) {
    log.error({ err: error }, 'JOBS_DIR could not be made');
  }
  await base.open(signal);
  if ((await base.check()) === null && (await deviceOf(basePath)) !== (await deviceOf(jobsDir))) {
    log.warn(
      { base: basePath, jobs: jobsDir },
      'JOBS_DIR is on another file system than WORKSPACE_DIR: each clone costs more',
    );
  }
}

async function deviceOf(path: string): Promise<number | null> {
  return await stat(path).then(
    ({ dev }) => dev,
    () => null,
  );
}

async function checkJobsDir(path: string): Promise<string | null> {
  return await access(path, constants.W_OK | constants.X_OK).then(
    () => null,
    () => 'The service cannot write JOBS_DIR: make it, or change its owner',
  );
}
