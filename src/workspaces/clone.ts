import { readdir, readFile, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { Target } from './base-ref.ts';
import type { BaseState } from './base-repo.ts';
import type { Git } from './git.ts';
import { attributesFile } from './protected-files.ts';
import { unsynced, updateQuickly } from './quick-update.ts';
import { readRef } from './read-ref.ts';

/** A clone is local: 60,000 files take 20 s on a busy disk. What takes this long hangs. */
const cloneTimeoutMs = 600_000;
const readTimeoutMs = 60_000;

/**
 * Clones the base into an empty directory. The objects are copied: a hard link would let a job overwrite the base's own, and
 * a borrowed store would tie the job to what becomes of the base.
 */
export async function cloneBase(git: Git, base: BaseState, path: string, signal: AbortSignal): Promise<void> {
  const branch = base.branch === null ? [] : [`--branch=${base.branch}`];
  const checkout = base.target === null ? [] : ['--no-checkout'];
  const args = [
    ...unsynced,
    'clone',
    '--local',
    '--no-hardlinks',
    '--template=',
    ...checkout,
    ...branch,
    '--',
    base.path,
    path,
  ];
  await git({ cwd: dirname(path), args, transport: 'local', timeoutMs: cloneTimeoutMs, signal });
  await pointOrigin(path, base.originUrl);
  if (base.target !== null) await checkOut(git, base.target, path, signal);
}

async function checkOut(git: Git, { commit, branch }: Target, path: string, signal: AbortSignal): Promise<void> {
  const how = branch === null ? ['--detach'] : ['--no-track', '-B', branch];
  await git({ cwd: path, args: ['checkout', '--force', ...how, commit, '--'], timeoutMs: cloneTimeoutMs, signal });
}

/**
 * Brings a clone that nobody has touched to the newest commit of the base's branch. Rejects with anything where it could not be
 * made what a new clone would be.
 */
export async function updateClone(git: Git, base: BaseState, path: string, signal: AbortSignal): Promise<void> {
  const gitDir = join(path, '.git');
  const [from, hadAttributes] = [await readRef(gitDir, 'HEAD'), await hasAttributes(path)];
  const isDone = await updateQuickly(git, base, path, signal).catch(() => {
    signal.throwIfAborted();
    return false; // What is wrong with it the fetch will say.
  });
  if (!isDone) await updateByFetch(git, base, path, signal);
  if (!hadAttributes && !(await hasAttributes(path))) return;
  // Other attributes may make other files of the same blobs, and git leaves those as they are.
  const files = [`:(top,glob)**/${attributesFile}`];
  const args = ['diff-tree', '-r', '--name-only', String(from), 'HEAD', '--', ...files];
  const changed = await git({ cwd: path, args, timeoutMs: readTimeoutMs, signal });
  if (changed !== '') throw new Error('the attributes of files have changed');
}

/** True if there may be attributes in its commit. */
async function hasAttributes(path: string): Promise<boolean> {
  return (await readFile(join(path, '.git', 'index'))).includes(attributesFile);
}

async function updateByFetch(git: Git, base: BaseState, path: string, signal: AbortSignal): Promise<void> {
  const { branch } = base;
  if (branch === null) throw new Error('the base has no commit to go to');
  const refspec = `+refs/heads/${branch}:refs/remotes/origin/${branch}`;
  const fetch = [...unsynced, 'fetch', '--no-write-fetch-head', '--', base.path, refspec];
  await git({ cwd: path, args: fetch, transport: 'local', timeoutMs: cloneTimeoutMs, signal });
  const reset = ['reset', '--hard', `refs/remotes/origin/${branch}`, '--'];
  await git({ cwd: path, args: reset, timeoutMs: cloneTimeoutMs, signal });
}

/** Puts objects that lie in files of their own into one pack: each copy of the clone would copy each file. */
export async function packObjects(git: Git, path: string, signal: AbortSignal): Promise<void> {
  const names = await readdir(join(path, '.git', 'objects'));
  if (!names.some((name) => name.length === 2)) return;
  await git({ cwd: path, args: [...unsynced, 'repack', '-d', '-n', '--quiet'], timeoutMs: cloneTimeoutMs, signal });
}

/** The commit that a fresh clone starts from; null in an empty repository. */
export async function headOf(git: Git, path: string, signal: AbortSignal): Promise<string | null> {
  const commit = await readRef(join(path, '.git'), 'HEAD');
  if (commit !== null) return commit;
  const args = ['rev-list', '--max-count=1', '--all'];
  if ((await git({ cwd: path, args, timeoutMs: readTimeoutMs, signal })) === '') return null;
  return await git({ cwd: path, args: ['rev-parse', 'HEAD'], timeoutMs: readTimeoutMs, signal });
}

/**
 * Lets `origin` be the base's own, or none at all: a job must not reach the base by a push. Written straight into the file
 * that git has just made, before anyone else could touch it: `git remote` would cost one more process for each clone.
 */
async function pointOrigin(path: string, url: string | null): Promise<void> {
  const file = join(path, '.git', 'config');
  const sections = (await readFile(file, 'utf8')).split(/^(?=\[)/m);
  const kept = url === null ? sections.filter((section) => !/^\[(remote|branch) /.test(section)) : sections;
  const pointed = kept.map((section) =>
    section.startsWith('[remote "origin"]')
      ? section.replace(/^\turl = .*$/m, () => `\turl = ${quoted(url ?? '')}`)
      : section,
  );
  await writeFile(file, pointed.join(''));
}

export function quoted(value: string): string {
  return `"${value.replace(/[\\"]/g, '\\$&').replace(/\n/g, '\\n')}"`;
}
