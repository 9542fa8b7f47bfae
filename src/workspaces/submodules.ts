import { constants } from 'node:fs';
import { appendFile, cp, lstat, mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { basename, join, relative } from 'node:path';
import type { LeftOut } from '../jobs/change-set.ts';
import type { Log } from '../jobs/ports.ts';
import { removeTree } from '../process/remove-tree.ts';
import { Refusal, reasonOf } from './attempts.ts';
import { quoted } from './clone.ts';
import type { Filled, FilledSubmodule } from './filled.ts';
import { type Git, GitError } from './git.ts';
import { type Address, addressOf, type Declared, declaredIn, isSafeName } from './submodule-address.ts';
import type { Mirror, Mirrors } from './submodule-mirrors.ts';

/** How the index of git writes the mode of a submodule: where these bytes are not, there is none. */
export const submoduleMode = Buffer.from([0, 0, 0xe0, 0]);

/** Beyond that it is a mistake, or malice. */
const maxSubmodules = 100;
const maxDepth = 8;
/** All of them together: a job may wait for it. */
const fillTimeoutMs = 300_000;
const checkoutTimeoutMs = 300_000;
const readTimeoutMs = 60_000;
const sha1Length = 40;

export interface SubmodulesDeps {
  readonly git: Git;
  readonly mirrors: Mirrors;
  /** Where the base comes from; its path if from nowhere. May hold credentials. */
  readonly baseUrl: string;
  /** False if the clone has no remote of its own either. */
  readonly hasRemote: boolean;
  readonly log: Log;
}

/** A repository in the clone, which is checked out. Paths are absolute but `prefix`. */
interface Holder {
  readonly workTree: string;
  readonly gitDir: string;
  readonly url: string;
  /** Its place in the clone, and a slash. */
  readonly prefix: string;
  readonly depth: number;
}

interface Link {
  readonly path: string;
  readonly commit: string;
}

export type FilledIn = Pick<Filled, 'submodules' | 'leftOut'>;

interface Filling extends SubmodulesDeps {
  readonly clone: string;
  readonly done: FilledSubmodule[];
  readonly leftOut: LeftOut[];
  readonly signal: AbortSignal;
}

/**
 * Checks out the submodules of a clone in which nobody has worked, at their recorded commits, and theirs: each with a git
 * directory in that of the clone, as git itself would have it, but without a look at what else `.gitmodules` asks for. Rejects
 * only with the signal's reason.
 */
export async function fillSubmodules(deps: SubmodulesDeps, clone: string, signal: AbortSignal): Promise<FilledIn> {
  const bounded = AbortSignal.any([signal, AbortSignal.timeout(fillTimeoutMs)]);
  const filling: Filling = { ...deps, clone, done: [], leftOut: [], signal: bounded };
  const whole = { workTree: clone, gitDir: join(clone, '.git'), url: deps.baseUrl, prefix: '', depth: 0 };
  await fillAllOf(filling, whole);
  signal.throwIfAborted();
  return { submodules: filling.done, leftOut: filling.leftOut };
}

/** Makes the places of submodules empty again, and takes away all else that filling them has brought. */
export async function clearSubmodules(clone: string, { submodules }: Pick<Filled, 'submodules'>): Promise<void> {
  if (submodules.length === 0) return;
  for (const { path } of submodules) {
    // Those inside others go with them.
    if (submodules.some((other) => path.startsWith(`${other.path}/`))) continue;
    await removeTree(join(clone, path));
    await mkdir(join(clone, path));
  }
  await removeTree(join(clone, '.git', 'modules'));
  const file = join(clone, '.git', 'config');
  const sections = (await readFile(file, 'utf8')).split(/^(?=\[)/m);
  await writeFile(file, sections.filter((section) => !section.startsWith('[submodule "')).join(''));
}

async function fillAllOf(filling: Filling, holder: Holder): Promise<void> {
  const links = await linksOf(filling, holder);
  if (links.length === 0) return;
  const declared = await declaredBy(filling, holder);
  for (const link of links) {
    const path = `${holder.prefix}${link.path}`;
    try {
      const inside = await fillOne(filling, holder, link, declared.get(link.path));
      await fillAllOf(filling, inside);
    } catch (error) {
      if (!(error instanceof Refusal)) filling.log.warn({ err: error, path }, 'a submodule could not be filled');
      const reason = filling.signal.aborted ? 'all of them together took too long' : reasonOf(error);
      filling.leftOut.push({ path, kind: 'submodule', reason });
    }
  }
}

/** The places of submodules, from the index: only the tree itself says where they are. */
async function linksOf({ git, signal }: Filling, { workTree, gitDir }: Holder): Promise<readonly Link[]> {
  const index = await readFile(join(gitDir, 'index')).catch(() => null);
  if (index === null || !index.includes(submoduleMode)) return [];
  const list = await git({ cwd: workTree, args: ['ls-files', '--stage', '-z'], timeoutMs: readTimeoutMs, signal });
  return list.split('\0').flatMap((entry) => {
    const [, commit, path] = entry.match(/^160000 ([0-9a-f]+) 0\t(.+)$/s) ?? [];
    return commit === undefined || path === undefined ? [] : [{ commit, path }];
  });
}

async function declaredBy({ git, signal }: Filling, { workTree }: Holder): Promise<ReadonlyMap<string, Declared>> {
  const args = ['config', '--blob', 'HEAD:.gitmodules', '--no-includes', '--list', '-z'];
  try {
    return declaredIn(await git({ cwd: workTree, args, timeoutMs: readTimeoutMs, signal }));
  } catch {
    return new Map(); // There is none, or it is none that git can read: then each submodule is said to be missing in it.
  }
}

async function fillOne(
  filling: Filling,
  holder: Holder,
  { path, commit }: Link,
  declared: Declared | undefined,
): Promise<Holder> {
  const { clone, done, mirrors, signal, baseUrl } = filling;
  signal.throwIfAborted();
  if (declared === undefined) throw new Refusal('.gitmodules does not name it');
  if (declared.isLeftAlone) throw new Refusal('.gitmodules asks not to check it out');
  if (done.length >= maxSubmodules || holder.depth >= maxDepth) throw new Refusal('there are too many submodules');
  if (commit.length !== sha1Length) throw new Refusal('its commits have ids of SHA-256');
  if (!isSafeName(declared.name)) throw new Refusal('its name is none that git allows');
  const address = addressOf(declared.url, { url: holder.url, baseUrl });
  if (typeof address === 'string') throw new Refusal(address);
  const workTree = await emptyPlace(holder, path);
  const mirror = await mirrors.find(address, commit, signal);
  if (typeof mirror === 'string') throw new Refusal(mirror);
  const gitDir = await makePlaceFor(holder, declared.name);
  const inside = { workTree, gitDir, url: address.url, prefix: `${holder.prefix}${path}/`, depth: holder.depth + 1 };
  await checkOut(filling, inside, { mirror, address, commit });
  await introduce(holder, declared.name, filling.hasRemote ? address.url : null);
  const { objects } = mirror;
  done.push({ path: `${holder.prefix}${path}`, gitDir: relative(clone, gitDir), commit, objects });
  return inside;
}

/** The directory that the checkout has left for it: there, real, and empty. */
async function emptyPlace({ workTree }: Holder, path: string): Promise<string> {
  const parts = path.split('/');
  // What is no UTF-8 came here with another name, and is not found below it.
  const isPlain = parts.every((part) => part !== '' && part !== '.' && part !== '..') && !/\p{Cc}/u.test(path);
  for (let end = 1; isPlain && end <= parts.length; end += 1) {
    const stats = await lstat(join(workTree, ...parts.slice(0, end))).catch(() => null);
    if (stats?.isDirectory() !== true) throw new Refusal('there is no directory in its place');
  }
  const place = join(workTree, path);
  if (!isPlain || (await readdir(place)).length > 0) throw new Refusal('its place is not empty');
  return place;
}

/** Where git has the git directory of a submodule. One never lies in that of another. */
async function makePlaceFor({ gitDir }: Holder, name: string): Promise<string> {
  const parts = name.split('/');
  let place = join(gitDir, 'modules');
  for (const part of parts.slice(0, -1)) {
    place = join(place, part);
    if (await isThere(join(place, 'HEAD'))) throw new Refusal('its name leads into another submodule');
  }
  await mkdir(place, { recursive: true });
  place = join(place, basename(name));
  if (await isThere(place)) throw new Refusal('its name is that of another submodule');
  await mkdir(place);
  return place;
}

async function isThere(path: string): Promise<boolean> {
  return await lstat(path).then(
    () => true,
    () => false,
  );
}

interface Source {
  readonly mirror: Mirror;
  readonly address: Address;
  readonly commit: string;
}

/** By hand but for the last step: nothing of the mirror's configuration, and no template, comes along. */
async function checkOut(
  { git, mirrors, hasRemote, signal }: Filling,
  { workTree, gitDir }: Holder,
  { mirror, address, commit }: Source,
): Promise<void> {
  try {
    await mkdir(join(gitDir, 'refs', 'heads'), { recursive: true });
    await cp(mirror.objects, join(gitDir, 'objects'), {
      recursive: true,
      mode: constants.COPYFILE_FICLONE,
      // Of a fetch under way.
      filter: (path) => !basename(path).startsWith('tmp_'),
    });
    const remote = `[remote "origin"]\n\turl = ${quoted(address.url)}\n\tfetch = +refs/heads/*:refs/remotes/origin/*\n`;
    const core = ['repositoryformatversion = 0', 'filemode = true', 'bare = false', 'logallrefupdates = true'];
    const settings = [...core, `worktree = ${quoted(relative(gitDir, workTree))}`].map((line) => `\t${line}\n`);
    await writeFile(join(gitDir, 'config'), `[core]\n${settings.join('')}${hasRemote ? remote : ''}`);
    await writeFile(join(gitDir, 'HEAD'), `${commit}\n`);
    await writeFile(join(workTree, '.git'), `gitdir: ${relative(workTree, gitDir)}\n`);
    const args = ['reset', '--hard', '--quiet', commit, '--'];
    await git({ cwd: workTree, args, timeoutMs: checkoutTimeoutMs, signal });
  } catch (error) {
    await removeTree(gitDir);
    await removeTree(workTree);
    await mkdir(workTree);
    if (error instanceof GitError && !signal.aborted) await mirrors.drop(mirror);
    throw error;
  }
}

/** As `git submodule init` does, so that a job can work with it. */
async function introduce({ gitDir }: Holder, name: string, url: string | null): Promise<void> {
  const lines = ['active = true', ...(url === null ? [] : [`url = ${quoted(url)}`])].map((line) => `\t${line}\n`);
  await appendFile(join(gitDir, 'config'), `[submodule ${quoted(name)}]\n${lines.join('')}`);
}
