import { access, mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { BaseState } from './base-repo.ts';
import type { Git } from './git.ts';
import { readRef } from './read-ref.ts';

/** Takes what changed since: seconds for a base that has moved far. */
const timeoutMs = 600_000;
/** What is lost when the machine stops is made anew: nobody waits for the disk. */
export const unsynced = ['-c', 'core.fsync=none'];
const tagPrefix = 'refs/tags/';

/**
 * Brings a clone that nobody has touched to the newest commit of the base's branch, by a pack of what it lacks and the files
 * that differ: no other file is looked at. Answers false where a fetch does more than that, and then has changed nothing that
 * matters to one. Rejects with anything; then as well a fetch and a reset may still do.
 */
export async function updateQuickly(git: Git, base: BaseState, path: string, signal: AbortSignal): Promise<boolean> {
  const { branch } = base;
  const gitDir = join(path, '.git');
  const head = `refs/heads/${branch}`;
  if (branch === null || (await readFile(join(gitDir, 'HEAD'), 'utf8')) !== `ref: ${head}\n`) return false;
  const [from, to] = [await readRef(gitDir, head), await readRef(base.gitDir, head)];
  if (from === null || to === null || (await needsFetch(base.gitDir, gitDir))) return false;
  const common = { cwd: path, timeoutMs, signal };
  const objects = [join(base.gitDir, 'objects')];
  const packing = [...unsynced, 'pack-objects', '--revs', '--non-empty', '-q', join(gitDir, 'objects', 'pack', 'pack')];
  // Both read the base's store, so neither waits for the other. Workers would be further processes.
  const reading = ['-c', 'checkout.workers=1', 'read-tree', '-m', '-u', from, to];
  const done = await Promise.allSettled([
    git({ ...common, args: packing, alone: { input: `${to}\n^${from}\n`, objects } }),
    git({ ...common, args: reading, alone: { input: '', objects } }),
  ]);
  for (const one of done) if (one.status === 'rejected') throw one.reason;
  await writeRef(gitDir, `refs/remotes/origin/${branch}`, to);
  await writeRef(gitDir, head, to);
  return true;
}

/** True if there is more to bring than a branch, or it is kept in a way of its own. */
async function needsFetch(base: string, clone: string): Promise<boolean> {
  const special = [join(base, 'shallow'), join(clone, 'shallow'), join(clone, 'git-crypt')];
  if ((await Promise.all(special.map(isThere))).includes(true)) return true;
  const [theirs, ours] = await Promise.all([tagsOf(base), tagsOf(clone)]);
  return ![...theirs].every((tag) => ours.has(tag));
}

/** Their names, and those of the directories that they are in. */
async function tagsOf(gitDir: string): Promise<ReadonlySet<string>> {
  const packed = await readFile(join(gitDir, 'packed-refs'), 'utf8').catch(() => '');
  const lines = packed.split('\n').filter((line) => line.includes(` ${tagPrefix}`));
  const names = lines.map((line) => line.slice(line.indexOf(tagPrefix) + tagPrefix.length));
  const loose = await readdir(join(gitDir, 'refs', 'tags'), { recursive: true }).catch(() => []);
  return new Set([...names, ...loose]);
}

async function writeRef(gitDir: string, name: string, commit: string): Promise<void> {
  const file = join(gitDir, name);
  await mkdir(dirname(file), { recursive: true });
  await writeFile(file, `${commit}\n`);
}

async function isThere(path: string): Promise<boolean> {
  return await access(path).then(
    () => true,
    () => false,
  );
}
