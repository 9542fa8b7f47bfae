import { mkdir, readdir } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { WorkspaceError } from '../jobs/errors.ts';
import type { CloneMethod, JobId } from '../jobs/job.ts';
import { isJobId } from '../jobs/job-id.ts';
import type { Clock, Log, Workspace, WorkspaceManager } from '../jobs/ports.ts';
import { createRemover, type Remover } from '../process/remover.ts';
import { type BaseHeads, createHeads } from './base-heads.ts';
import { type BaseRepo, createBaseRepo } from './base-repo.ts';
import { type ChangeTaker, createChangeTaker, type Snapshot } from './change-taker.ts';
import { type Contents, type ContentsSettings, createContents } from './contents.ts';
import { createFrozenClone, type FrozenClone } from './frozen-clone.ts';
import { createGit, type Git } from './git.ts';
import { checkJobsDir, deviceOf } from './jobs-dir.ts';
import { openPatch, readDetails } from './kept-changes.ts';
import { withoutFilter } from './lfs.ts';
import { createMutex } from './mutex.ts';
import { createPool, type Pool, poolName } from './pool.ts';
import { createPreparation, makeDirectory, type Place } from './preparation.ts';
import { createPusher } from './push-result.ts';
import { createRemoval, type Removal } from './removal.ts';
import { noMeter, type WorkspaceMeter } from './workspace-meter.ts';

export interface WorkspaceOptions extends ContentsSettings {
  /** The warm base clone: used as it is if it is a repository, else made there. */
  readonly basePath: string;
  /** Where a base that is not there is cloned from; null: an empty repository is made. May hold credentials. */
  readonly baseUrl: string | null;
  /** The branch that the base follows; null: the remote's own. */
  readonly baseBranch: string | null;
  readonly jobsDir: string;
  readonly fetchDebounceMs: number;
  /** How many clones are kept ready. */
  readonly poolSize: number;
  /** How long more clones than that stay after many jobs at once; a minute by default. */
  readonly surplusMs?: number;
  /** Unlocks each clone if the file exists. */
  readonly gitCryptKey: string;
  /** Where the service keeps what it needs to know of living workspaces: out of their reach. */
  readonly scratchDir: string;
  /** Where what a job changed is kept until the job is forgotten; made if absent. */
  readonly resultDir: (id: JobId) => string;
  /** The program that copies clones; the one beside the service by default. */
  readonly copier?: string;
  /** The program that compares work trees with what was noted of them; the one beside the service by default. */
  readonly scanner?: string;
  /** Other directories of the service in which many files come and go. */
  readonly busyDirectories?: readonly string[];
  /** All that git sees of the environment. */
  readonly gitEnv: Readonly<Record<string, string>>;
  /** Why no more clones should be made ready, a sentence; null when there is room. */
  readonly refusal?: () => Promise<string | null>;
  readonly meter?: WorkspaceMeter;
  /** Closed with the workspaces; one of its own where it is absent. */
  readonly remover?: Remover;
  readonly log: Log;
  readonly clock: Clock;
}

export interface GitWorkspaces extends WorkspaceManager {
  /** Finds or makes the base. Rejects only with the signal's reason: what else goes wrong is told by `check` and tried again. */
  start(signal: AbortSignal): Promise<void>;
  /** How many clones wait for a job. */
  ready(): number;
  readonly heads: BaseHeads;
  /** How clones are made, once the first sweep is done. */
  method(): CloneMethod;
}

/** Beyond one clone per core all of them only get slower; below two, the disk idles while a clone computes. */
const parallelClones = Math.max(2, availableParallelism());

/** Workspaces as full clones of one base repository. */
export function createWorkspaceManager(options: WorkspaceOptions): GitWorkspaces {
  const paths = { basePath: resolve(options.basePath), jobsDir: resolve(options.jobsDir) };
  const ceilings = [dirname(paths.basePath), dirname(paths.jobsDir)];
  const config = options.lfs === true ? withoutFilter : [];
  const gitOptions = { env: options.gitEnv, safeDirectory: paths.basePath, ceilings, config };
  const git = createGit(gitOptions);
  const gitLater = createGit({ ...gitOptions, lowPriority: true });
  const base = createBaseRepo({ ...options, ...paths, git });
  const { log, remover = createRemover({ log }) } = options;
  const removal = createRemoval({ jobsDir: paths.jobsDir, remover, log });
  const { resultDir } = options;
  const push = createPusher({ git, base, log: options.log });
  const taker = createChangeTaker({ ...options, push, path: options.gitEnv['PATH'] ?? '/usr/bin:/bin' });
  const contents = createContents({ ...options, git: gitOptions });
  const { create, pool, frozen } = createCloning({
    ...options,
    ...paths,
    git,
    gitLater,
    base,
    removal,
    taker,
    contents,
  });
  const adopted = new Set<JobId>();
  return {
    create,
    changesOf: async (id) => await readDetails(resultDir(id)),
    patchOf: async (id) => await openPatch(resultDir(id)),
    start: (signal) => start(paths, base, log, signal),
    adopt(id) {
      adopted.add(id);
      return adoptedWorkspace(id, join(paths.jobsDir, id), { removal, taker });
    },
    async sweep(known = async () => true) {
      await removal.emptyTrash();
      await pool.empty();
      await frozen.empty();
      const names = (await readdir(paths.jobsDir)).filter(isJobId);
      const left = names.filter((id) => !adopted.has(id));
      // An agent may have waited in it for a job that never came: then there is nobody to tell.
      const areKnown = await Promise.all(left.map(known));
      const lost = left.filter((_, i) => areKnown[i]);
      await taker.sweep(await tellChangesOf(lost, paths.jobsDir, taker, [...adopted]));
      await Promise.all(left.map(removal.discard));
      await frozen.begin();
      await pool.begin();
    },
    check: async () => (await base.check()) ?? (await checkJobsDir(paths.jobsDir)) ?? (await contents.check()),
    ready: pool.ready,
    heads: createHeads(base),
    method: frozen.method,
    async close() {
      base.close();
      contents.close();
      await Promise.all([pool.close(), frozen.close(), taker.close()]);
      await removal.close();
    },
  };
}

interface CloningDeps extends WorkspaceOptions {
  readonly git: Git;
  readonly gitLater: Git;
  readonly base: BaseRepo;
  readonly removal: Removal;
  readonly taker: ChangeTaker;
  readonly contents: Contents;
}

interface Cloning {
  readonly create: WorkspaceManager['create'];
  readonly pool: Pool;
  readonly frozen: FrozenClone;
}

function createCloning(deps: CloningDeps): Cloning {
  const { jobsDir, poolSize, scratchDir, busyDirectories = [], base, removal, taker, meter = noMeter } = deps;
  const clones = createMutex(parallelClones);
  const gitLater = createPreparation({ ...deps, git: deps.gitLater });
  const directories = [scratchDir, ...busyDirectories, ...(poolSize > 0 ? [join(jobsDir, poolName)] : [])];
  const frozen = createFrozenClone({ ...deps, directories, prepareLater: gitLater });
  const prepare = frozen.quicken(createPreparation(deps), 'now');
  const prepareLater = frozen.quicken(gitLater, 'later');
  let cloning = 0;
  /** A workspace of the same name may be wanted before the notes on the last one are gone. */
  const forgetting = new Map<JobId, Promise<void>>();
  const forget = (id: JobId, snapshot: Snapshot | null): void => {
    const work = snapshot === null ? taker.release(id) : taker.forget(snapshot, id);
    const done = work.finally(() => forgetting.delete(id));
    forgetting.set(id, done);
  };
  const pool = createPool({
    ...{ ...deps, size: poolSize, prepare, prepareLater, renew: frozen.renew },
    isBusy: () => cloning > 0,
    hasRoom: async () => deps.refusal === undefined || (await deps.refusal()) === null,
  });

  const create: WorkspaceManager['create'] = async (id, signal, { ref } = { ref: null }) => {
    if (!isJobId(id)) throw new WorkspaceError('A workspace needs the id of a job');
    const state = await base.current(signal, ref);
    const path = join(jobsDir, id);
    await makeDirectory(path);
    try {
      const snapshot = await fill({ name: id, path, state }, signal);
      if (signal.aborted) await taker.forget(snapshot);
      signal.throwIfAborted();
      await forgetting.get(id);
      await taker.assign(id, snapshot);
      pool.noteBegin();
      return workspace(id, path, snapshot, { removal, taker, pool, forget });
    } catch (error) {
      await removal.discard(id);
      signal.throwIfAborted();
      if (error instanceof WorkspaceError) throw error;
      throw new WorkspaceError('The base repository could not be cloned for the job', { cause: error });
    } finally {
      pool.fill();
    }
  };

  async function fill(place: Place, signal: AbortSignal): Promise<Snapshot> {
    const since = performance.now();
    const ready = await pool.take(place.path, place.state, signal);
    const snapshot = ready?.snapshot ?? (await clone(place, signal));
    meter.prepared(ready?.by ?? 'clone', performance.now() - since);
    return snapshot;
  }

  async function clone(place: Place, signal: AbortSignal): Promise<Snapshot> {
    cloning += 1;
    try {
      return await clones.run(() => prepare.make(place, signal), signal);
    } finally {
      cloning -= 1;
    }
  }

  return { create, pool, frozen };
}

interface WorkspaceMeans extends Means {
  readonly pool: Pool;
  /** Begins to let go of the notes on it; null: only of whose they were. */
  readonly forget: (id: JobId, snapshot: Snapshot | null) => void;
}

function workspace(id: JobId, path: string, snapshot: Snapshot, means: WorkspaceMeans): Workspace {
  const { removal, taker, pool, forget } = means;
  let disposed: Promise<void> | null = null;
  // The next job waits for the place, not for the notes on this one.
  const discard = async (): Promise<void> => await removal.discard(id).finally(() => forget(id, snapshot));
  const giveBack = async (): Promise<void> => {
    if (await pool.giveBack(path, snapshot)) forget(id, null);
    else await discard();
  };
  const end = async (how: () => Promise<void>): Promise<void> => {
    pool.noteEnd();
    await how();
  };
  return {
    path,
    baseCommit: snapshot.baseCommit,
    changes: (pushBranch) => taker.take(id, path, snapshot, pushBranch),
    giveBack: () => (disposed ??= end(giveBack)),
    [Symbol.asyncDispose]: () => (disposed ??= end(discard)),
  };
}

type Means = Pick<CloningDeps, 'removal' | 'taker'>;

/** Of a run that goes on from an earlier process, which noted what the workspace was like. */
function adoptedWorkspace(id: JobId, path: string, { removal, taker }: Means): Workspace {
  let disposed: Promise<void> | null = null;
  const discard = (): Promise<void> => (disposed ??= removal.discard(id));
  return {
    path,
    baseCommit: null,
    async changes(pushBranch) {
      const snapshot = await taker.recall(id);
      return snapshot === null ? null : await taker.take(id, path, snapshot, pushBranch);
    },
    giveBack: discard,
    [Symbol.asyncDispose]: discard,
  };
}

/** What the jobs of a dead process changed is kept before their workspaces go. Answers the snapshots that are still needed. */
async function tellChangesOf(
  lost: readonly JobId[],
  jobsDir: string,
  taker: ChangeTaker,
  adopted: readonly JobId[],
): Promise<readonly Snapshot[]> {
  for (const id of lost) {
    const snapshot = await taker.recall(id);
    if (snapshot !== null) await taker.take(id, join(jobsDir, id), snapshot);
  }
  const kept = await Promise.all(adopted.map(taker.recall));
  return kept.filter((snapshot) => snapshot !== null);
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
