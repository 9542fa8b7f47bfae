import { randomBytes } from 'node:crypto';
import { copyFile, mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { removeTree } from '../process/remove-tree.ts';
import type { LfsFile } from './filled.ts';
import { attributesFile, speaksOfFilters } from './protected-files.ts';
import { makeScratchRepo, type ScratchRepo } from './scratch-repo.ts';
import { pathsByFilter, split } from './stage-changes.ts';

export interface PointersOf {
  readonly clone: string;
  readonly commit: string;
  /** Of the base. */
  readonly objects: string;
  readonly scratchDir: string;
  /** PATH for git. */
  readonly path: string;
}

/** Longer is no pointer: https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md */
const maxPointerBytes = 1024;
const pointerPattern =
  /^version https:\/\/git-lfs\.github\.com\/spec\/v1\noid sha256:([0-9a-f]{64})\nsize (0|[1-9]\d{0,14})\n$/;

/**
 * The files under `filter=lfs` that are pointers in the index of a clone in which nobody has worked. Those that ask for the
 * help of another program (extensions) are none that we know.
 */
export async function pointersIn(of: PointersOf): Promise<readonly LfsFile[]> {
  const index = join(of.clone, '.git', 'index');
  if (!(await readFile(index)).includes(attributesFile)) return [];
  await mkdir(of.scratchDir, { recursive: true, mode: 0o700 });
  const gitDir = join(of.scratchDir, `lfs-${randomBytes(8).toString('hex')}`);
  try {
    const repo = await makeScratchRepo({ ...of, gitDir, workTree: of.clone, baseCommit: of.commit });
    await copyFile(index, join(gitDir, 'index'));
    return await pointersOf(repo, of.clone);
  } finally {
    await removeTree(gitDir);
  }
}

async function pointersOf(repo: ScratchRepo, clone: string): Promise<readonly LfsFile[]> {
  const blobs = new Map<string, string>();
  for (const entry of split(await repo.run(['ls-files', '--stage', '-z']))) {
    const [, blob, path] = entry.match(/^100\d{3} ([0-9a-f]+) 0\t(.+)$/s) ?? [];
    if (blob !== undefined && path !== undefined) blobs.set(path, blob);
  }
  const paths = [...blobs.keys()];
  if (!(await speaksOfFilters(clone, paths))) return [];
  const input = Buffer.from(paths.map((path) => `${path}\0`).join(''), 'latin1');
  const underLfs = pathsByFilter(await repo.run(['check-attr', '-z', '--stdin', '--cached', 'filter'], { input }))(
    'lfs',
  );
  const texts = await smallBlobs(repo, [...new Set(underLfs.flatMap((path) => blobs.get(path) ?? []))]);
  return underLfs.flatMap((path) => {
    const [, oid, size] = texts.get(blobs.get(path) ?? '')?.match(pointerPattern) ?? [];
    return oid === undefined || size === undefined ? [] : [{ path, oid, size: Number(size) }];
  });
}

async function smallBlobs(repo: ScratchRepo, ids: readonly string[]): Promise<ReadonlyMap<string, string>> {
  if (ids.length === 0) return new Map();
  const lines = (of: readonly string[]) => Buffer.from(of.map((id) => `${id}\n`).join(''));
  const sizes = (await repo.run(['cat-file', '--batch-check'], { input: lines(ids) })).toString().split('\n');
  const small = ids.filter((_, at) => Number(sizes[at]?.split(' ')[2] ?? maxPointerBytes) < maxPointerBytes);
  const answer = (await repo.run(['cat-file', '--batch'], { input: lines(small) })).toString('latin1');
  const texts = new Map<string, string>();
  for (let at = 0; at < answer.length; ) {
    const end = answer.indexOf('\n', at);
    const [id = '', , size] = answer.slice(at, end).split(' ');
    texts.set(id, answer.slice(end + 1, end + 1 + Number(size)));
    at = end + 1 + Number(size) + 1;
  }
  return texts;
}
