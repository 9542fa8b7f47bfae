import { randomBytes } from 'node:crypto';
import { mkdir, readdir, rename, stat } from 'node:fs/promises';
import { isAbsolute, join, resolve } from 'node:path';
import { WorkspaceError } from '../jobs/errors.ts';
import { removeTree } from '../process/remove-tree.ts';
import { type Git, type GitCall, GitError, type GitFailure, type Transport } from './git.ts';
import { readRef } from './read-ref.ts';

/** What does not change about a base while the service runs. */
export interface OpenBase {
  readonly path: string;
  readonly gitDir: string;
  readonly bare: boolean;
  /** Where it is fetched from; null if from nowhere. May hold credentials. */
  readonly originUrl: string | null;
  readonly transport: Transport;
  /** The branch that it follows, whether or not it has one of that name yet. */
  readonly branch: string;
}

export interface BaseSource {
  readonly basePath: string;
  readonly baseUrl: string | null;
  readonly baseBranch: string | null;
  readonly git: Git;
}

/** The first clone of a large repository over a slow line takes minutes; nothing sane takes longer than this. */
const cloneTimeoutMs = 1_800_000;
/** Local commands that read or write a few files. */
const localTimeoutMs = 60_000;
/** One round trip. Whoever does not answer by then is away, and the base's own branch will do. */
const remoteHeadTimeoutMs = 10_000;

const partialPrefix = '.partial-';
/** What may lie in a directory that counts as empty: `lost+found` is in the root of every ext4 volume. */
const insignificant = (name: string): boolean => name === 'lost+found' || name.startsWith(partialPrefix);

/** The author of the one commit of a base that comes from nowhere. */
const identity = ['-c', 'user.name=agent-service', '-c', 'user.email=agent-service@localhost'];

/**
 * Finds the base, or makes it where there is none. Rejects with `WorkspaceError`, whose message an operator can act on, and
 * with the signal's reason once that aborted. Whatever happens, what was in the directory stays as it was.
 */
export async function openBase(source: BaseSource, signal: AbortSignal): Promise<OpenBase> {
  const content = await contentOf(source.basePath);
  if (content === 'other') {
    throw new WorkspaceError(
      'WORKSPACE_DIR holds files but no git repository: empty it, or let WORKSPACE_DIR name another directory',
    );
  }
  try {
    if (content === 'nothing') await makeBase(source, signal);
    return await readBase(source, signal);
  } catch (error) {
    signal.throwIfAborted();
    if (error instanceof WorkspaceError) throw error;
    if (error instanceof GitError) throw new WorkspaceError(problemOf(error.failure), { cause: error });
    throw new WorkspaceError('The service cannot read and write WORKSPACE_DIR: change its owner', { cause: error });
  }
}

/** True if there is a repository, bare or with a work tree, at the path itself. */
export async function isRepository(path: string): Promise<boolean> {
  if (await exists(join(path, '.git'))) return true;
  return (await exists(join(path, 'HEAD'))) && (await exists(join(path, 'objects')));
}

async function contentOf(path: string): Promise<'nothing' | 'repository' | 'other'> {
  if (await isRepository(path)) return 'repository';
  try {
    const names = await readdir(path);
    return names.every(insignificant) ? 'nothing' : 'other';
  } catch (error) {
    return error instanceof Error && 'code' in error && error.code === 'ENOENT' ? 'nothing' : 'other';
  }
}

/**
 * Makes the repository in a directory inside, for the path may be the root of a volume, and moves its `.git` out at the end:
 * one rename, so that no half-made base is ever taken for one.
 */
async function makeBase(source: BaseSource, signal: AbortSignal): Promise<void> {
  const partial = join(source.basePath, `${partialPrefix}${randomBytes(6).toString('hex')}`);
  await mkdir(partial, { recursive: true });
  try {
    await fillRepository(source, partial, signal);
    await rename(join(partial, '.git'), join(source.basePath, '.git'));
  } finally {
    await removePartials(source.basePath);
  }
}

/**
 * Makes the repository anew from where it comes from, in the place of a damaged one, at the same path. Rejects with anything;
 * then the damaged one is still there.
 */
export async function remakeBase(source: BaseSource, url: string, signal: AbortSignal): Promise<void> {
  const partial = join(source.basePath, `${partialPrefix}${randomBytes(6).toString('hex')}`);
  const gitDir = join(source.basePath, '.git');
  await mkdir(partial);
  try {
    await fillRepository({ ...source, baseUrl: url }, partial, signal);
    const damaged = join(partial, 'damaged');
    // Between the two renames there is none: whoever needs it then opens it again.
    await rename(gitDir, damaged);
    await rename(join(partial, '.git'), gitDir).catch(async (error: unknown) => {
      await rename(damaged, gitDir);
      throw error;
    });
  } finally {
    await removePartials(source.basePath);
  }
}

/** Also those of a process that died. What cannot be removed is only space lost. */
async function removePartials(basePath: string): Promise<void> {
  const partials = (await readdir(basePath)).filter((name) => name.startsWith(partialPrefix));
  await Promise.all(partials.map((name) => removeTree(join(basePath, name))));
}

async function fillRepository({ baseUrl, baseBranch, git }: BaseSource, partial: string, signal: AbortSignal) {
  const run = (args: readonly string[], more: Partial<GitCall> = {}) =>
    git({ cwd: partial, args, timeoutMs: localTimeoutMs, signal, ...more });
  if (baseUrl === null) {
    await run(['init', '--template=', `--initial-branch=${checkedBranch(baseBranch ?? 'main')}`]);
    await run([...identity, 'commit', '--allow-empty', '--message=Start of an empty repository']);
  } else {
    const branch = baseBranch === null ? [] : [`--branch=${checkedBranch(baseBranch)}`];
    const args = ['clone', '--template=', '--no-hardlinks', '--no-checkout', ...branch, '--', fromHere(baseUrl), '.'];
    await run(args, { transport: transportOf(baseUrl), timeoutMs: cloneTimeoutMs });
  }
}

async function readBase({ basePath, baseBranch, git }: BaseSource, signal: AbortSignal): Promise<OpenBase> {
  const run = (args: readonly string[], more: Partial<GitCall> = {}) =>
    git({ cwd: basePath, args, timeoutMs: localTimeoutMs, signal, ...more });
  const facts = await run(['rev-parse', '--is-bare-repository', '--absolute-git-dir']);
  const [bareness, gitDir = ''] = facts.split('\n');
  // The same door as a clone's: it refuses the repository of another user, whatever the command line says.
  await run(['ls-remote', '--', basePath, 'HEAD'], { transport: 'local' });
  const url = await run(['config', '--default', '', '--get', 'remote.origin.url']);
  const originUrl = url === '' ? null : absoluteUrl(url, basePath);
  const transport = originUrl === null ? 'remote' : transportOf(originUrl);
  const named = baseBranch ?? (originUrl === null ? null : await remoteBranch(run, transport, signal));
  const branch = checkedBranch(named ?? (await currentBranch(run, signal)) ?? 'master');
  const local = await readRef(gitDir, `refs/heads/${branch}`);
  if (local === null && (await readRef(gitDir, `refs/remotes/origin/${branch}`)) !== null) {
    await run(['branch', '--no-track', branch, `refs/remotes/origin/${branch}`]);
  }
  return { path: basePath, gitDir, bare: bareness === 'true', originUrl, transport, branch };
}

type Run = (args: readonly string[], more?: Partial<GitCall>) => Promise<string>;

/** The default branch of the remote: as the clone noted it, or else by asking. Null if nobody says. */
async function remoteBranch(run: Run, transport: Transport, signal: AbortSignal): Promise<string | null> {
  const noted = await orNull(run(['symbolic-ref', 'refs/remotes/origin/HEAD']), signal);
  if (noted !== null) return noted.replace(/^refs\/remotes\/origin\//, '');
  const asked = ['ls-remote', '--symref', 'origin', 'HEAD'];
  const answer = await orNull(run(asked, { transport, timeoutMs: remoteHeadTimeoutMs }), signal);
  return answer?.match(/^ref: refs\/heads\/(\S+)\tHEAD$/m)?.[1] ?? null;
}

async function currentBranch(run: Run, signal: AbortSignal): Promise<string | null> {
  return (await orNull(run(['symbolic-ref', 'HEAD']), signal))?.replace(/^refs\/heads\//, '') ?? null;
}

/** For questions to which failing is an answer. */
async function orNull(answer: Promise<string>, signal: AbortSignal): Promise<string | null> {
  try {
    return await answer;
  } catch {
    signal.throwIfAborted();
    return null; // No such ref, a detached HEAD, or nobody there: the next source is asked.
  }
}

/** The name stands in argument lists, so it must not look like an option, nor hold what no branch may hold. */
function checkedBranch(name: string): string {
  if (/^(?!-)[^\s~^:?*[\\\p{Cc}]{1,200}$/u.test(name)) return name;
  throw new WorkspaceError('BASE_BRANCH is not the name of a branch');
}

/** A path is the operator's own repository; all else goes over the network. */
export function transportOf(url: string): Transport {
  return /^(file:\/\/|\.{0,2}\/)/.test(url) || !url.includes(':') ? 'local' : 'remote';
}

function fromHere(url: string): string {
  return absoluteUrl(url, '.');
}

/** A relative path would mean another place when read from a job's clone. */
function absoluteUrl(url: string, from: string): string {
  return transportOf(url) === 'local' && !url.startsWith('file:') && !isAbsolute(url) ? resolve(from, url) : url;
}

async function exists(path: string): Promise<boolean> {
  return await stat(path).then(
    () => true,
    () => false,
  );
}

/** A sentence for an operator; the log has what git said. */
function problemOf(failure: GitFailure): string {
  switch (failure) {
    case 'missing':
      return 'git is not installed: install it where PATH finds it';
    case 'timeout':
    case 'no_answer':
      return 'The base repository could not be cloned: the remote does not answer';
    case 'credentials':
      return 'The base repository could not be cloned: the remote refused the credentials';
    case 'no_branch':
      return 'The base repository could not be cloned: the remote has no branch of the name in BASE_BRANCH';
    case 'no_repository':
      return 'The base repository could not be cloned: there is no repository at BASE_REPO_URL';
    case 'owner':
      return 'The repository in WORKSPACE_DIR belongs to another user: change its owner to the user of the service';
    case 'failed':
      return 'The base repository could not be opened: the log has the reason';
  }
}
