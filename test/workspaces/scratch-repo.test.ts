import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { cutAfterLastFile } from '../../src/workspaces/cut-patch.ts';
import { makeScratchRepo } from '../../src/workspaces/scratch-repo.ts';
import { createGitRepo, gitEnv } from '../helpers/git-repo.ts';
import { cleanUpAfterEach, never, temporaryDirectory } from './fixture.ts';

cleanUpAfterEach();

test('a patch that is too long is cut after its last whole file, and what is left applies', async () => {
  const root = await temporaryDirectory();
  const base = await createGitRepo(join(root, 'base'), { 'a.txt': 'a' });
  const text = 'x'.repeat(30_000);
  await base.commit({ 'b.txt': text, 'c.txt': text, 'd.txt': text });
  const gitDir = join(root, 'scratch');
  const objects = join(base.path, '.git', 'objects');
  const options = { gitDir, workTree: base.path, objects, path: gitEnv['PATH'] ?? '' };
  const repo = await makeScratchRepo({ ...options, baseCommit: await base.git('rev-parse', 'HEAD') });
  const file = join(root, 'patch');
  const args = ['diff-tree', '-p', await base.git('rev-parse', 'HEAD~1'), await base.git('rev-parse', 'HEAD')];
  expect(await repo.runToFile(args, file, { maxBytes: 200_000, signal: never })).toEqual({ cut: false });
  const whole = (await stat(file)).size;
  expect(await repo.runToFile(args, file, { maxBytes: 70_000, signal: never })).toEqual({ cut: true });
  expect((await stat(file)).size).toBe(70_000);
  await cutAfterLastFile(file);
  const patch = await readFile(file, 'utf8');
  expect(patch.length).toBeLessThan(whole);
  expect(patch.match(/^diff --git .*$/gm)).toEqual(['diff --git a/b.txt b/b.txt', 'diff --git a/c.txt b/c.txt']);
  await base.git('checkout', '--quiet', 'HEAD~1');
  await base.git('apply', '--index', file);
  expect(await base.git('status', '--porcelain')).toBe('A  b.txt\nA  c.txt');
});

test('a git that fails is an error, also when its output goes to a file', async () => {
  const root = await temporaryDirectory();
  const options = { gitDir: join(root, 'git'), workTree: root, objects: '/nonexistent', path: gitEnv['PATH'] ?? '' };
  const repo = await makeScratchRepo({ ...options, baseCommit: null });
  await expect(repo.run(['cat-file', '-p', 'HEAD'])).rejects.toThrow('git');
  const limits = { maxBytes: 100, signal: never };
  await expect(repo.runToFile(['cat-file', '-p', 'HEAD'], join(root, 'out'), limits)).rejects.toThrow('git');
});
