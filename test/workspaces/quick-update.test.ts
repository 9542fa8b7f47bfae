import { chmod, mkdir, readFile, rename, rm, symlink, unlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { createGitRepo, type GitRepo, openGitRepo } from '../helpers/git-repo.ts';
import { waitFor } from '../helpers/wait.ts';
import { cleanUpAfterEach, startedFixture, temporaryDirectory, wrapGit } from './fixture.ts';

cleanUpAfterEach();

/** The workspace of the first job after `move` worked in the base, from a clone that was ready before. */
async function broughtUp(move: (base: GitRepo, at: (name: string) => string) => Promise<unknown>) {
  const root = await temporaryDirectory();
  const files = { 'a.txt': 'a', 'b.txt': 'b', 'd/c.txt': 'c', 'e/f/g.txt': 'g', 'run.sh': 'x' };
  const base = await createGitRepo(join(root, 'base'), files);
  const git = await wrapGit();
  const fixture = await startedFixture({ root, poolSize: 1, gitEnv: git.env });
  await fixture.manager.sweep();
  await waitFor(fixture.manager.ready, (ready) => ready === 1, { what: 'a ready clone' });
  const before = await Promise.all(['fetch', 'clone'].map(git.count));
  await move(base, (name) => join(base.path, name));
  const workspace = await fixture.create();
  const after = await Promise.all(['fetch', 'clone'].map(git.count));
  // Whoever takes a clone lets another be made.
  const fetches = (after[0] ?? 0) - (before[0] ?? 0);
  const clone = openGitRepo(workspace.path);
  const commit = await base.git('rev-parse', 'HEAD');
  expect(workspace.baseCommit).toBe(commit);
  expect(await clone.git('rev-parse', 'HEAD', 'main', 'origin/main')).toBe([commit, commit, commit].join('\n'));
  expect(await clone.git('status', '--porcelain=v1', '--ignored')).toBe('');
  expect(await clone.git('ls-files', '--stage')).toBe(await base.git('ls-files', '--stage'));
  expect(await clone.git('fsck', '--full', '--strict', '--no-dangling')).toBe('');
  await writeFile(join(workspace.path, 'b.txt'), 'changed');
  expect(await workspace.changes()).toMatchObject({ filesChanged: 1, baseCommit: commit, problem: null });
  return { clone, fetches };
}

test('a ready clone follows the base without a fetch, whatever has changed there', async () => {
  const { clone, fetches } = await broughtUp(async (base, at) => {
    await base.commit({ 'a.txt': 'first' });
    await unlink(at('d/c.txt'));
    await rm(at('d'), { recursive: true });
    await writeFile(at('d'), 'a file now');
    await rename(at('e/f/g.txt'), at('e/moved.txt'));
    await unlink(at('a.txt'));
    await mkdir(at('a.txt'));
    await symlink('../b.txt', at('a.txt/link'));
    await chmod(at('run.sh'), 0o755);
    await base.commit({ 'naïve "name"': 'new', '.gitattributes': '*.crlf text eol=crlf\n', 'x.crlf': 'one\ntwo\n' });
  });
  expect(fetches).toBe(0);
  expect(await readFile(join(clone.path, 'x.crlf'), 'utf8')).toBe('one\r\ntwo\r\n');
});

test('a ready clone follows a base whose history was rewritten, or whose files are the same', async () => {
  const rewritten = await broughtUp(async (base) => {
    await base.git('commit', '--quiet', '--amend', '--message=rewritten');
    await base.commit({ 'a.txt': 'again' });
  });
  expect(rewritten.fetches).toBe(0);
  const undone = await broughtUp((base) =>
    base.git('commit', '--quiet', '--amend', '--allow-empty', '--message=other'),
  );
  expect(undone.fetches).toBe(0);
  const sameTree = await broughtUp((base) => base.git('commit', '--quiet', '--allow-empty', '--message=empty'));
  expect(sameTree.fetches).toBe(0);
});

test('where the base has new tags too, a ready clone gets them by a fetch', async () => {
  const { clone, fetches } = await broughtUp(async (base) => {
    await base.commit({ 'a.txt': 'tagged' });
    await base.git('tag', 'v1/final');
    await base.git('pack-refs', '--all');
  });
  expect(fetches).toBeGreaterThan(0);
  expect(await clone.git('tag')).toBe('v1/final');
});
