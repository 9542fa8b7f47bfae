import { existsSync } from 'node:fs';
import { chmod, mkdir, readdir, readFile, readlink, rm, stat, symlink, utimes, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import type { ChangedFile, ChangeSet, ChangeSummary } from '../jobs/change-set.ts';
import type { JobId } from '../jobs/job.ts';
import type { Log } from '../jobs/ports.ts';
import { readCommits } from './agent-commits.ts';
import { detailsFile, patchFile } from './kept-changes.ts';
import { type FilledNotes, leftOutOf, ownOf, withFilled } from './note-filled.ts';
import { type CommitFacts, identityOf, noteWorkspace, openScratchRepo } from './note-workspace.ts';
import type { ProtectedFiles } from './protected-files.ts';
import type { Pusher } from './push-result.ts';
import { ownerFile, takeQuickly } from './quick-changes.ts';
import { emptyTree, type ScratchRepo } from './scratch-repo.ts';
import { stageChanges } from './stage-changes.ts';
import { withSubmodules } from './submodule-changes.ts';
import { createTreeScanner, scannerFile, type TreeScanner } from './tree-scanner.ts';
import { maxPatchBytes, problemOf, type TreeChanges, writePatch } from './write-patch.ts';

/** What is kept of a fresh workspace, before an agent runs in it, so that its changes can be told later. */
export interface Snapshot {
  readonly baseCommit: string | null;
  readonly directory: string;
  readonly protectedFiles: ProtectedFiles;
  /** The store of the base, which no job writes. */
  readonly objects: string;
  /** Of the work tree's directory: what stands in its place later may be another. */
  readonly identity: string;
  /** False if no attributes of the work tree speak of a filter whose files are left out. */
  readonly filters: boolean;
  /** Where the base has other repositories, which the clone leaves empty. Paths are bytes, one character each. */
  readonly submodules: readonly string[];
  /** What was put into it that a clone of the base does not have; absent where nothing was. */
  readonly filled?: FilledNotes;
  /** When the index was written, in whole seconds since the epoch: nothing in the work tree was written later. */
  readonly indexSecond: number;
  /** By which files of its store are known again. */
  readonly store: readonly string[];
}

export interface Start {
  readonly baseCommit: string | null;
  readonly objects: string;
  /** True if files of it were decrypted. */
  readonly unlocked: boolean;
}

export interface ChangeTaker {
  /** Notes the state of a workspace in which nobody has worked yet. */
  note(workTree: string, start: Start): Promise<Snapshot>;
  /**
   * Writes patch and details of what changed since, and answers the summary. Call when no process of the job is left. Takes
   * 30 s at most, and the push its own time; never rejects: what could not be told is said in `problem`.
   */
  take(id: JobId, workTree: string, snapshot: Snapshot, pushBranch?: string): Promise<ChangeSummary>;
  /**
   * Call when nobody has worked in the workspace up to now, and somebody will: if that is later than the second in which it
   * was made, no file has to be compared by content to know that it is unchanged.
   */
  trust(snapshot: Snapshot): Promise<void>;
  /** Writes down whose snapshot it is: a later process may have to tell what the job changed. */
  assign(id: JobId, snapshot: Snapshot): Promise<void>;
  /** The snapshot that an earlier process assigned to the job, or null. */
  recall(id: JobId): Promise<Snapshot | null>;
  /** Lets go of a snapshot, and of the job's if it was assigned. Never rejects. */
  forget(snapshot: Snapshot, id?: JobId): Promise<void>;
  /** The job has its snapshot no more, which stays. Never rejects. */
  release(id: JobId): Promise<void>;
  /** Removes the snapshots of a dead process but those to `keep`. */
  sweep(keep: readonly Snapshot[]): Promise<void>;
  /** Ends what runs for all of them. */
  close(): Promise<void>;
}

export interface ChangeTakerOptions {
  /** For snapshots: a directory of the service's own. */
  readonly scratchDir: string;
  /** Where the result of a job is kept: `changes.patch` and `changes.json`. */
  readonly resultDir: (id: JobId) => string;
  readonly push: Pusher;
  /** The program that compares trees; the one beside the service by default. */
  readonly scanner?: string;
  /** PATH for git. */
  readonly path: string;
  readonly log: Log;
}

/** Seconds on a large tree; an answer to the caller waits for it. */
const takeTimeoutMs = 30_000;
const limits = { maxFiles: 10_000, maxFileBytes: 16 * 1024 * 1024, maxTotalBytes: maxPatchBytes };
const notWhole = 'The branch was not pushed: the change set is not whole';
const inOthers = 'The branch was not pushed: changes in submodules belong to other repositories';
/** More than any kernel takes between two looks at the clock for the times of files. */
const clockTickMs = 50;

const nothing = { filesChanged: 0, insertions: 0, deletions: 0, patchBytes: 0, files: [] as readonly ChangedFile[] };

export function createChangeTaker(options: ChangeTakerOptions): ChangeTaker {
  const { scratchDir, log } = options;
  const scanner = openScanner(options);
  const known = new Map<string, CommitFacts>();
  const remove = async (path: string): Promise<void> => {
    try {
      await rm(path, { recursive: true, force: true });
    } catch (error) {
      log.warn({ err: error }, 'a snapshot could not be removed; the next start does it');
    }
  };
  return {
    note: async (workTree, start) =>
      await withFilled(options, workTree, await noteWorkspace({ ...options, known }, workTree, start)),
    async take(id, workTree, snapshot, pushBranch) {
      const directory = options.resultDir(id);
      const changes = await takeAll({ ...options, scanner }, { id, directory, workTree, snapshot, pushBranch });
      if (changes.problem !== null) log.warn({ job_id: id, problem: changes.problem }, 'change set is not whole');
      const { files, commits, ...summary } = changes;
      try {
        await mkdir(directory, { recursive: true, mode: 0o700 });
        await writeFile(join(directory, detailsFile), JSON.stringify({ ...summary, files, commits }), { mode: 0o600 });
        return summary;
      } catch (error) {
        log.error({ job_id: id, err: error }, 'change set could not be kept');
        return { ...summary, patchBytes: 0, truncated: true, problem: 'The change set could not be kept' };
      }
    },
    async trust({ directory, indexSecond, baseCommit }) {
      // Whatever is changed from now on gets a later second as its change time, which nobody can set. Of two clocks, the one
      // that files get their times from may lag behind by a tick.
      if (baseCommit === null || Date.now() < (indexSecond + 1) * 1000 + clockTickMs) return;
      await utimes(join(directory, 'index'), indexSecond + 1, indexSecond + 1);
    },
    async assign(id, { protectedFiles, ...snapshot }) {
      const text = JSON.stringify({ ...snapshot, protectedFiles: [...protectedFiles] });
      const file = join(snapshot.directory, ownerFile);
      await writeFile(file, text, { mode: 0o600 });
      // Its time of change is when the job got the workspace: later than that of any file in it. Where the kernel takes coarse
      // times, it takes a fine one for the change of a file that somebody has looked at.
      await stat(file);
      await chmod(file, 0o600);
      await symlink(basename(snapshot.directory), join(scratchDir, id));
    },
    recall: async (id) => await recall(options, id),
    async forget({ directory }, id) {
      if (id !== undefined) await remove(join(scratchDir, id));
      await remove(directory);
    },
    release: async (id) => await remove(join(scratchDir, id)),
    sweep: (keep) => sweep(scratchDir, keep),
    close: scanner.close,
  };
}

async function recall({ scratchDir, log }: ChangeTakerOptions, id: JobId): Promise<Snapshot | null> {
  try {
    const text = await readFile(join(scratchDir, id, ownerFile), 'utf8');
    // Ours, and whole: it was written before the agent started.
    const kept = JSON.parse(text) as Omit<Snapshot, 'protectedFiles'> & { protectedFiles: [string, string][] };
    return {
      ...kept,
      filters: kept.filters ?? true,
      submodules: kept.submodules ?? [],
      store: kept.store ?? [],
      protectedFiles: new Map(kept.protectedFiles),
    };
  } catch (error) {
    log.debug({ job_id: id, err: error }, 'no snapshot was kept of this job');
    return null;
  }
}

async function sweep(scratchDir: string, keep: readonly Snapshot[]): Promise<void> {
  const kept = new Set(keep.map(({ directory }) => basename(directory)));
  for (const name of await readdir(scratchDir).catch(() => [])) {
    const target = await readlink(join(scratchDir, name)).catch(() => name);
    if (!kept.has(target)) await rm(join(scratchDir, name), { recursive: true, force: true });
  }
}

function openScanner({ scanner: file = scannerFile, log }: ChangeTakerOptions): TreeScanner {
  if (!existsSync(file)) log.warn({ file }, 'the scanner is not built: change sets take longer');
  return createTreeScanner(file);
}

interface Means extends Omit<ChangeTakerOptions, 'scanner'> {
  readonly scanner: TreeScanner;
}

interface Taking {
  readonly id: JobId;
  readonly directory: string;
  readonly workTree: string;
  readonly snapshot: Snapshot;
  readonly pushBranch: string | undefined;
}

async function takeAll(options: Means, taking: Taking): Promise<ChangeSet> {
  const { id, directory, workTree, snapshot, pushBranch: branch } = taking;
  const { baseCommit } = snapshot;
  const signal = AbortSignal.timeout(takeTimeoutMs);
  const notPushed = branch !== undefined && { push: { branch, commit: null, problem: notWhole } };
  const failed = { headCommit: null, commitsMade: 0, commits: [], ...notPushed };
  try {
    if ((await identityOf(workTree)) !== snapshot.identity) {
      return {
        baseCommit,
        ...failed,
        ...nothing,
        truncated: true,
        problem: 'The directory of the workspace was replaced',
      };
    }
    const repo = once(() => openScratchRepo(options, workTree, snapshot, 'take'));
    const reading = readCommits(options.log, repo, { path: workTree, baseCommit }, signal);
    try {
      const quick = branch === undefined ? await quickly(options, taking, signal) : null;
      const { tree: own, left } = quick ?? (await takeTree(await repo(), taking, signal));
      const inside = { ...options, ...taking, limits, left, patch: join(directory, patchFile) };
      const tree = await withSubmodules(own, inside, signal);
      const commits = await reading;
      const problem = tree.problem ?? commits.problem;
      const truncated = tree.truncated || commits.truncated;
      const changes = { baseCommit, ...commits, ...tree, truncated, problem, ...leftOutOf(snapshot) };
      if (branch === undefined) return changes;
      if (tree.filesChanged > own.filesChanged) {
        return { ...changes, push: { branch, commit: null, problem: inOthers } };
      }
      // Of a file that is left out the index has what the base had: a commit of that would take the agent's work back.
      if (left > 0 || commits.problem !== null) return { ...changes, ...notPushed };
      const { headCommit } = commits;
      const push = await options.push({ id, branch, repo: await repo(), workTree, baseCommit, headCommit });
      return { ...changes, push };
    } finally {
      await reading;
    }
  } catch (error) {
    options.log.warn({ err: error }, 'change set could not be taken');
    const problem = signal.aborted ? 'The change set took too long' : 'The change set could not be taken';
    return { baseCommit, ...failed, ...nothing, truncated: true, problem };
  }
}

/** Null in any doubt: then git looks at the whole tree. */
async function quickly(
  { scanner, path, log }: Means,
  { snapshot, workTree, directory, id }: Taking,
  signal: AbortSignal,
): Promise<{ readonly tree: TreeChanges; readonly left: number } | null> {
  try {
    const tree = await takeQuickly({ scanner, snapshot, workTree, directory, limits, path }, signal);
    return tree === null ? null : { tree, left: 0 };
  } catch (error) {
    signal.throwIfAborted();
    log.debug({ job_id: id, err: error }, 'the change set is taken the long way');
    return null;
  }
}

function once<Value>(make: () => Promise<Value>): () => Promise<Value> {
  let made: Promise<Value> | null = null;
  return async () => {
    made ??= make();
    return await made;
  };
}

async function takeTree(
  repo: ScratchRepo,
  { snapshot, workTree, directory }: Taking,
  signal: AbortSignal,
): Promise<{ readonly tree: TreeChanges; readonly left: number }> {
  const staged = await stageChanges(repo, { ...snapshot, ...ownOf(snapshot), path: workTree, limits }, signal);
  const { anything, omitted, unlisted } = staged;
  const left = omitted.length + unlisted;
  if (!anything) {
    const tree = { ...nothing, filesChanged: left, files: omitted, truncated: left > 0, problem: problemOf(left) };
    return { tree, left };
  }
  const comparison = { command: ['diff-index', '--cached'], revisions: [snapshot.baseCommit ?? emptyTree] };
  return { tree: await writePatch(repo, comparison, { directory, ...staged }, signal), left };
}
