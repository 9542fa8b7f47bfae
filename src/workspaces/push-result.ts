import { appendFile, readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { PushResult } from '../jobs/change-set.ts';
import type { JobId } from '../jobs/job.ts';
import type { Log } from '../jobs/ports.ts';
import { ownObjects } from './agent-commits.ts';
import type { BaseRepo } from './base-repo.ts';
import { type Git, GitError } from './git.ts';
import { emptyTree, type ScratchRepo } from './scratch-repo.ts';

/** What a job leaves, staged in a git directory of the service's own. */
export interface Result {
  readonly id: JobId;
  readonly branch: string;
  readonly repo: ScratchRepo;
  readonly workTree: string;
  readonly baseCommit: string | null;
  readonly headCommit: string | null;
}

/**
 * Pushes the agent's commits, and one with what it did not commit, to the remote of the base: as a branch that is new there or
 * goes on from what it was, and is not the base's own. Never rejects.
 */
export type Pusher = (result: Result) => Promise<PushResult>;

interface PusherDeps {
  readonly git: Git;
  readonly base: BaseRepo;
  readonly log: Log;
}

/** What one job makes goes over a slow line in this time; the end of the job waits for it. */
const pushTimeoutMs = 60_000;
/** Who made the commit of what the agent left uncommitted. */
const identity = ['-c', 'user.name=agent-service', '-c', 'user.email=agent-service@localhost'];
const messageOf = (id: JobId): string => `Uncommitted work of job ${id}`;

/** The push is not made, for a reason that its caller may read. */
class PushRefusal extends Error {}

export function createPusher({ git, base, log }: PusherDeps): Pusher {
  return async (result) => {
    const { branch, repo } = result;
    const signal = AbortSignal.timeout(pushTimeoutMs);
    try {
      const { originUrl, transport, follows, gitDir } = await base.peek(signal);
      if (originUrl === null) throw new PushRefusal('the base repository has no remote');
      if (branch === follows) throw new PushRefusal('that is the branch which the base follows');
      if (branch === (await defaultBranch(gitDir))) throw new PushRefusal('that is the main branch of the remote');
      const commit = await commitOf(result, signal);
      const to = `${commit}:refs/heads/${branch}`;
      const how = ['--no-verify', '--no-follow-tags', '--no-signed', '--recurse-submodules=no'];
      const args = [`--git-dir=${repo.gitDir}`, 'push', ...how, '--', originUrl, to];
      await git({ cwd: repo.gitDir, args, transport, timeoutMs: pushTimeoutMs, signal });
      return { branch, commit, problem: null };
    } catch (error) {
      if (!(error instanceof PushRefusal)) log.warn({ job_id: result.id, err: error }, 'result could not be pushed');
      return { branch, commit: null, problem: `The branch was not pushed: ${reasonOf(error)}` };
    }
  };
}

/** The remote's own, where the clone of the base noted it. */
async function defaultBranch(gitDir: string): Promise<string | null> {
  const noted = await readFile(join(gitDir, 'refs', 'remotes', 'origin', 'HEAD'), 'utf8').catch(() => '');
  return noted.match(/^ref: refs\/remotes\/origin\/(\S+)\n$/)?.[1] ?? null;
}

/** The agent's own last commit if it left nothing beside it, or one on top of that. */
async function commitOf(result: Result, signal: AbortSignal): Promise<string> {
  const { id, repo, workTree, baseCommit, headCommit } = result;
  const parent = headCommit ?? baseCommit;
  if (headCommit !== null && headCommit !== baseCommit) {
    const objects = await ownObjects(join(workTree, '.git'));
    await refuseLinks(objects);
    await appendFile(join(repo.gitDir, 'objects', 'info', 'alternates'), `${objects}\n`);
  }
  const run = async (args: readonly string[]) => (await repo.run(args, { signal })).toString().trim();
  const tree = await run(['write-tree']);
  const before = parent === null ? emptyTree : await run(['rev-parse', '--verify', `${parent}^{tree}`]);
  if (before === tree) {
    if (parent === baseCommit || parent === null) throw new PushRefusal('the job changed nothing');
    return parent;
  }
  const parents = parent === null ? [] : ['-p', parent];
  return await run([...identity, 'commit-tree', ...parents, '-m', messageOf(id), tree]);
}

/** A link in the job's store could bring the objects of somebody else into the push. */
async function refuseLinks(objects: string): Promise<void> {
  for (const entry of await readdir(objects, { withFileTypes: true })) {
    if (!entry.isDirectory()) throw new Error('the store of the job is not as git makes it');
    for (const file of await readdir(join(objects, entry.name), { withFileTypes: true })) {
      if (!file.isFile()) throw new Error('the store of the job is not as git makes it');
    }
  }
}

function reasonOf(error: unknown): string {
  if (error instanceof PushRefusal) return error.message;
  if (!(error instanceof GitError)) return 'the commits could not be read';
  // Most telling first: a refusal of one ref is followed by a general failure.
  if (/\[rejected\]/.test(error.message)) return 'the remote has a branch of that name with another history';
  if (/\[remote rejected\]/.test(error.message)) return 'the remote refused it';
  if (error.failure === 'credentials') return 'the remote refused the credentials';
  if (error.failure === 'timeout' || error.failure === 'no_answer') return 'the remote does not answer';
  return 'the log of the service has the reason';
}
