import { execFile } from 'node:child_process';
import { chmod, mkdir, mkdtemp, readdir, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { removeTree, removeTrees } from '../../src/process/remove-tree.ts';

const run = promisify(execFile);
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

test('of several, those that are left are named, and the others go', async () => {
  await mkdir(join(dir, 'one'));
  expect(await removeTrees([join(dir, 'one'), `${dir}/.`])).toMatchObject({
    left: [`${dir}/.`],
    error: expect.any(Error),
  });
  expect(await readdir(dir)).toEqual([]);
});

test('an ordinary user removes what the rights forbid, and what a link points at keeps its rights', async ({
  skip,
}) => {
  if (process.getuid?.() !== 0) skip('NOT TESTED: only root can become another user');
  const other = 65_534;
  await mkdir(join(dir, 'tree/closed/inner'), { recursive: true });
  await writeFile(join(dir, 'tree/closed/inner/file'), '');
  await mkdir(join(dir, 'outside'));
  await symlink('../outside', join(dir, 'tree/link'));
  await run('chown', ['-R', String(other), dir]);
  for (const name of ['tree/closed/inner', 'tree/closed', 'tree', 'outside']) await chmod(join(dir, name), 0);
  const code = `import { removeTree } from ${JSON.stringify(import.meta.resolve('../../src/process/remove-tree.ts'))};
    process.setgid(${other}); process.setuid(${other});
    console.log(await removeTree(${JSON.stringify(join(dir, 'tree'))}));`;
  const { stdout } = await run(process.execPath, ['--input-type=module', '--eval', code], { cwd: '/' });
  expect(stdout).toBe('null\n');
  expect(await readdir(dir)).toEqual(['outside']);
  expect((await stat(join(dir, 'outside'))).mode & 0o777).toBe(0);
});
