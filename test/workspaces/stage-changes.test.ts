import { mkdir, readdir, rm, unlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import type { ChangeSet } from '../../src/jobs/change-set.ts';
import { createJobId } from '../../src/jobs/job-id.ts';
import type { Workspace } from '../../src/jobs/ports.ts';
import { createGitRepo, type GitRepo, openGitRepo } from '../helpers/git-repo.ts';
import {
  cleanUpAfterEach,
  createFixture,
  namesIn,
  never,
  startedFixture,
  temporaryDirectory,
  wrapGit,
} from './fixture.ts';

cleanUpAfterEach();

test('a job that changed nothing costs one git process, and one that changed files three, where there is no scanner', async () => {
  const root = await temporaryDirectory();
  await createGitRepo(join(root, 'base'), { 'a.txt': 'a', 'gone.txt': 'g' });
  const git = await wrapGit();
  const { create } = await startedFixture({ root, gitEnv: git.env, scanner: '/nonexistent/scantree' });
  const commands = ['status', 'update-index', 'diff-index', 'check-attr', 'diff-files', 'ls-files', 'log'];
  const counts = async () => await Promise.all(commands.map(git.count));
  await using idle = await create();
  expect(await idle.changes()).toMatchObject({ filesChanged: 0, problem: null });
  expect(await counts()).toEqual([1, 0, 0, 0, 0, 0, 0]);
  await using busy = await create();
  await writeFile(join(busy.path, 'a.txt'), 'b');
  await writeFile(join(busy.path, 'new.txt'), 'b');
  await unlink(join(busy.path, 'gone.txt'));
  expect(await busy.changes()).toMatchObject({ filesChanged: 3, problem: null });
  expect(await counts()).toEqual([2, 1, 1, 0, 0, 0, 0]);
});

test('a change set that was begun is taken again by the process after the one that died', async () => {
  const root = await temporaryDirectory();
  await createGitRepo(join(root, 'base'), { 'a.txt': 'a' });
  const { create } = await startedFixture({ root });
  await using workspace = await create();
  await writeFile(join(workspace.path, 'a.txt'), 'b');
  const first = await workspace.changes();
  expect(first).toMatchObject({ filesChanged: 1, problem: null });
  expect(await workspace.changes()).toEqual(first);
});

/** Works in a workspace of the base at `root` and answers what is kept of it, and how. */
async function workedIn(
  root: string,
  work: (workspace: Workspace) => Promise<unknown>,
): Promise<Pick<ChangeSet, 'problem'> & { readonly omitted: readonly unknown[]; readonly patch: string }> {
  const { manager } = await startedFixture({ root });
  const id = createJobId();
  await using workspace = await manager.create(id, never);
  await work(workspace);
  await workspace.changes();
  const changes = await manager.changesOf(id);
  const stream = await manager.patchOf(id);
  const patch = stream === null ? '' : (await stream.toArray()).join('');
  const omitted = changes?.files.filter((file) => file.omitted !== null) ?? [];
  const problem = changes?.problem ?? null;
  return { problem, patch, omitted: omitted.map(({ path, change, omitted: why }) => [path, change, why]) };
}

/** A base with a submodule at `libs/sub`. */
async function baseWithSubmodule(root: string): Promise<GitRepo> {
  const sub = await createGitRepo(join(root, 'sub'), { 's.txt': 's' });
  const base = await createGitRepo(join(root, 'base'), { 'a.txt': 'a' });
  await base.git('-c', 'protocol.file.allow=always', 'submodule', '--quiet', 'add', sub.path, 'libs/sub');
  await base.commit({ 'b.txt': 'b' });
  return base;
}

test('a submodule of the base stays empty in the workspace, and is no change', async () => {
  const root = await temporaryDirectory();
  await baseWithSubmodule(root);
  const kept = await workedIn(root, async ({ path }) => {
    expect(await readdir(join(path, 'libs', 'sub'))).toEqual([]);
    await writeFile(join(path, 'a.txt'), 'changed');
  });
  expect(kept).toMatchObject({ problem: null, omitted: [] });
  expect(kept.patch).toContain('+changed');
});

test('a submodule that the job filled is not entered, runs nothing, and is said to be left out', async () => {
  const root = await temporaryDirectory();
  await baseWithSubmodule(root);
  const kept = await workedIn(root, async ({ path }) => {
    const inner = await createGitRepo(join(path, 'libs', 'sub'), { 's.txt': 'secret' });
    await inner.git('config', 'core.fsmonitor', `touch ${join(root, 'marker')}; false`);
    await writeFile(join(inner.path, 's.txt'), 'more');
    await writeFile(join(path, 'a.txt'), 'changed');
  });
  expect(kept.omitted).toEqual([['libs/sub', 'modified', 'repository']]);
  expect(kept.problem).toContain('lacks 1 of the changed files');
  expect(kept.patch).toContain('+changed');
  expect(kept.patch).not.toContain('sub');
  expect(await namesIn(root)).not.toContain('marker');
});

test('a submodule that the job removed, or put a file in the place of, is said to be left out', async () => {
  const root = await temporaryDirectory();
  await baseWithSubmodule(root);
  const remove = async ({ path }: Workspace) => await rm(join(path, 'libs', 'sub'), { recursive: true });
  expect((await workedIn(root, remove)).omitted).toEqual([['libs/sub', 'deleted', 'repository']]);
  const replaced = await workedIn(root, async (workspace) => {
    await remove(workspace);
    await writeFile(join(workspace.path, 'libs', 'sub'), 'x');
  });
  expect(replaced.omitted).toEqual([['libs/sub', 'modified', 'repository']]);
});

test('a job whose submodules are not as they were pushes nothing, for a commit would take their commits back', async () => {
  const root = await temporaryDirectory();
  const origin = await baseWithSubmodule(root);
  const { manager } = await createFixture({ root: join(root, 'service'), baseUrl: origin.path });
  await manager.start(never);
  await using workspace = await manager.create(createJobId(), never);
  await createGitRepo(join(workspace.path, 'libs', 'sub'), { 's.txt': '2' });
  await openGitRepo(workspace.path).commit({ 'a.txt': 'changed' });
  expect((await workspace.changes('moved'))?.push?.problem).toContain('not whole');
});

const pointer = (n: number) =>
  `version https://git-lfs.github.com/spec/v1\noid sha256:${String(n).repeat(64)}\nsize 12345\n`;

test('files of LFS are pointers in the workspace; another pointer is a change, their content is left out and said', async () => {
  const root = await temporaryDirectory();
  const attributes = '*.bin filter=lfs diff=lfs merge=lfs -text\n';
  await createGitRepo(join(root, 'base'), { '.gitattributes': attributes, 'a.bin': pointer(1), 'b.bin': pointer(2) });
  const kept = await workedIn(root, async ({ path }) => {
    expect(await openGitRepo(path).git('show', 'HEAD:a.bin')).toContain('oid sha256:1');
    await writeFile(join(path, 'a.bin'), pointer(3));
    await writeFile(join(path, 'b.bin'), 'the content itself');
    await mkdir(join(path, 'new'));
    await writeFile(join(path, 'new', 'c.bin'), 'also content');
    await writeFile(join(path, 'd.txt'), 'text');
  });
  expect(kept.omitted).toEqual([
    ['b.bin', 'modified', 'lfs'],
    ['new/c.bin', 'added', 'lfs'],
  ]);
  expect(kept.problem).toContain('lacks 2 of the changed files');
  expect(kept.patch).toContain('+oid sha256:3');
  expect(kept.patch).toContain('+text');
  expect(kept.patch).not.toContain('content');
});
