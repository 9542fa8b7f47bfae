import { chmod, mkdir, mkdtemp, readdir, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { removeTree } from '../../src/process/remove-tree.ts';

let dir: string;

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'remove-tree-'));
});

afterEach(async () => {
  await rm(dir, { recursive: true });
});

test('all that is given goes, whatever its rights and its depth, and what links point at stays', async () => {
  await writeFile(join(dir, 'kept'), 'kept');
  await mkdir(join(dir, 'one', ...Array<string>(500).fill('d')), { recursive: true });
  await mkdir(join(dir, '-two/closed'), { recursive: true });
  await writeFile(join(dir, '-two/closed/file'), '');
  await chmod(join(dir, '-two/closed'), 0);
  await symlink('../kept', join(dir, '-two/link'));
  expect(await removeTree(join(dir, 'one'), join(dir, '-two'), join(dir, 'absent'))).toBeNull();
  expect(await readdir(dir)).toEqual(['kept']);
});

test('what cannot be removed is said', async () => {
  expect(await removeTree(`${dir}/.`)).toBeInstanceOf(Error);
});
