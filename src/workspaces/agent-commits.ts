import { constants } from 'node:fs';
import { type FileHandle, lstat, open } from 'node:fs/promises';
import { join } from 'node:path';
import type { AgentCommit, ChangeSummary } from '../jobs/change-set.ts';
import type { Log } from '../jobs/ports.ts';
import type { ScratchRepo } from './scratch-repo.ts';

export interface AgentCommits {
  readonly headCommit: string | null;
  readonly commitsMade: number;
  readonly commits: readonly AgentCommit[];
}

const maxCommits = 100;
const maxCounted = 10_000;
const maxMessageLength = 4_000;
const maxNameLength = 200;
/** A ref is one line; a large repository has thousands of packed ones. */
const maxRefBytes = 4_096;
const maxPackedRefsBytes = 8 * 1024 * 1024;

/** Never rejects: without its commits a change set is still worth having. */
export async function readCommits(
  log: Log,
  repo: () => Promise<ScratchRepo>,
  job: { readonly path: string; readonly baseCommit: string | null },
  signal: AbortSignal,
): Promise<AgentCommits & Pick<ChangeSummary, 'truncated' | 'problem'>> {
  try {
    const read = await readAgentCommits(repo, job, signal);
    return { ...read, truncated: read.commitsMade > read.commits.length, problem: null };
  } catch (error) {
    log.warn({ err: error }, 'commits of the agent could not be read');
    const problem = 'The commits of the agent could not be read';
    return { headCommit: null, commitsMade: 0, commits: [], truncated: true, problem };
  }
}

/**
 * The commits between the base and where the agent left HEAD. Of the job's `.git` only the files of the refs are read here,
 * and its objects by a git that knows nothing else of it. Rejects if that repository is not as git makes it.
 */
async function readAgentCommits(
  openRepo: () => Promise<ScratchRepo>,
  { path, baseCommit }: { readonly path: string; readonly baseCommit: string | null },
  signal: AbortSignal,
): Promise<AgentCommits> {
  const gitDir = join(path, '.git');
  const headCommit = await headCommitOf(gitDir);
  if (headCommit === null || headCommit === baseCommit) return { headCommit, commitsMade: 0, commits: [] };
  const [objects, repo] = [await ownObjects(gitDir), await openRepo()];
  const range = ['--end-of-options', headCommit, ...(baseCommit === null ? [] : [`^${baseCommit}`]), '--'];
  const format = '--format=%H%n%an%n%ae%n%aI%n%B';
  const plain = ['--no-mailmap', '--no-notes', '--no-decorate', '--no-show-signature', '--no-patch', '--no-color'];
  const listing = ['log', '-z', `--max-count=${maxCommits}`, '--encoding=UTF-8', ...plain, format, ...range];
  const counting = ['rev-list', '--count', `--max-count=${maxCounted}`, ...range];
  const log = await repo.run(listing, { objects: [objects], signal });
  const commits = log.toString('utf8').split('\0').filter(Boolean).map(commitOf);
  if (commits.length < maxCommits) return { headCommit, commitsMade: commits.length, commits };
  const count = await repo.run(counting, { objects: [objects], signal });
  return { headCommit, commitsMade: Number(count.toString()), commits };
}

function commitOf(text: string): AgentCommit {
  const [hash = '', authorName = '', authorEmail = '', authoredAt = '', ...message] = text.split('\n');
  return {
    hash,
    authorName: authorName.slice(0, maxNameLength),
    authorEmail: authorEmail.slice(0, maxNameLength),
    authoredAt,
    message: message.join('\n').trimEnd().slice(0, maxMessageLength).toWellFormed(),
  };
}

/** The store of the job itself: no link to another one, and no list of others to read. */
export async function ownObjects(gitDir: string): Promise<string> {
  const objects = join(gitDir, 'objects');
  for (const directory of [gitDir, objects]) {
    if (!(await lstat(directory)).isDirectory()) throw new Error('the repository of the job is a link');
  }
  if ((await readSmallFile(join(objects, 'info', 'alternates'), 1)) !== null) {
    throw new Error('the repository of the job borrows objects');
  }
  return objects;
}

/** Where a git directory of the job says that it stands; null if it does not say. */
export async function headCommitOf(gitDir: string): Promise<string | null> {
  const head = await readSmallFile(join(gitDir, 'HEAD'), maxRefBytes);
  const name = head?.match(/^ref: (refs\/\S{1,1000})\n?$/)?.[1];
  if (name === undefined) return commitIn(head);
  if (name.split('/').some((part) => part === '..' || part === '.')) return null;
  const loose = await readSmallFile(join(gitDir, name), maxRefBytes);
  if (loose !== null) return commitIn(loose);
  const packed = await readSmallFile(join(gitDir, 'packed-refs'), maxPackedRefsBytes);
  const line = packed?.split('\n').find((candidate) => candidate.endsWith(` ${name}`));
  return commitIn(line?.slice(0, line.indexOf(' ')) ?? null);
}

function commitIn(text: string | null): string | null {
  return text?.match(/^([0-9a-f]{40}|[0-9a-f]{64})\n?$/)?.[1] ?? null;
}

/** Null if it is not there. A link or a pipe in its place is refused, not followed or waited for; what is longer is cut. */
export async function readSmallFile(path: string, maxBytes: number): Promise<string | null> {
  let file: FileHandle | undefined;
  try {
    file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
    if (!(await file.stat()).isFile()) return null;
    const { buffer, bytesRead } = await file.read(Buffer.alloc(maxBytes), 0, maxBytes, 0);
    return buffer.toString('utf8', 0, bytesRead);
  } catch {
    return null; // Not there, or nothing that git would have made: then it says nothing.
  } finally {
    await file?.close();
  }
}
