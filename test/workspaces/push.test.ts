import { mkdir, rm, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { execa } from 'execa';
import { beforeEach, expect, test } from 'vitest';
import { createJobId } from '../../src/jobs/job-id.ts';
import type { Workspace } from '../../src/jobs/ports.ts';
import { createGitRepo, type GitRepo, openGitRepo } from '../helpers/git-repo.ts';
import { cleanUpAfterEach, type Fixture, never, startedFixture, temporaryDirectory } from './fixture.ts';

cleanUpAfterEach();

let root: string;
let origin: GitRepo;
let fixture: Fixture;

beforeEach(async () => {
  root = await temporaryDirectory();
  const source = await createGitRepo(join(root, 'source'), { 'a.txt': 'first\n', 'gone.txt': 'x' });
  await source.git('clone', '--quiet', '--bare', source.path, join(root, 'origin'));
  origin = openGitRepo(join(root, 'origin'));
  fixture = await startedFixture({ root, baseUrl: origin.path, fetchDebounceMs: 0 });
});

/** A job's workspace in which work was done. */
async function worked(work: (workspace: Workspace) => Promise<unknown>): Promise<Workspace> {
  const workspace = await fixture.manager.create(createJobId(), never);
  await work(workspace);
  return workspace;
}

const tip = async (branch: string): Promise<string> => await origin.git('rev-parse', `refs/heads/${branch}`);
const show = async (branch: string): Promise<string> => await origin.git('log', '--format=%an: %s', `main..${branch}`);

test('commits of the agent and a commit of the rest become a branch at the remote', async () => {
  await using workspace = await worked(async ({ path }) => {
    await openGitRepo(path).commit({ 'b.txt': 'committed' });
    await writeFile(join(path, 'a.txt'), 'uncommitted\n');
    await rm(join(path, 'gone.txt'));
  });
  const changes = await workspace.changes('agent/work');
  expect(changes?.push).toEqual({ branch: 'agent/work', commit: await tip('agent/work'), problem: null });
  expect((await show('agent/work')).replace(/job \S+/, 'job')).toBe(
    'agent-service: Uncommitted work of job\nTest: b.txt',
  );
  expect(await origin.git('ls-tree', '-r', '--name-only', 'agent/work')).toBe('a.txt\nb.txt');
  expect(await origin.git('show', 'agent/work:a.txt')).toBe('uncommitted');
  expect(await origin.git('fsck')).toBe('');
});

test('where all is committed, the branch is at the commit of the agent', async () => {
  await using workspace = await worked(async ({ path }) => await openGitRepo(path).commit({ 'b.txt': 'b' }));
  const changes = await workspace.changes('all');
  expect(changes?.push).toEqual({ branch: 'all', commit: changes?.headCommit, problem: null });
});

test('a branch goes on from what it was, and never loses what another one pushed', async () => {
  const change = async (text: string) => await worked(async ({ path }) => await writeFile(join(path, 'a.txt'), text));
  await using first = await change('1');
  expect((await first.changes('shared'))?.push?.problem).toBeNull();
  const commit = await tip('shared');
  await using second = await change('2');
  expect((await second.changes('shared'))?.push).toEqual({
    branch: 'shared',
    commit: null,
    problem: 'The branch was not pushed: the remote has a branch of that name with another history',
  });
  expect(await tip('shared')).toBe(commit);
  await using onTop = await fixture.manager.create(createJobId(), never, { ref: 'shared' });
  await writeFile(join(onTop.path, 'a.txt'), '3');
  expect((await onTop.changes('shared'))?.push?.problem).toBeNull();
  expect(await origin.git('rev-parse', 'shared~1')).toBe(commit);
});

test('the branch of the base, no change, and a change set that is not whole are not pushed', async () => {
  const before = await origin.git('for-each-ref');
  await using changed = await worked(async ({ path }) => await writeFile(join(path, 'a.txt'), 'x'));
  expect((await changed.changes('main'))?.push?.problem).toContain('the branch which the base follows');
  await using idle = await worked(async () => undefined);
  expect((await idle.changes('idle'))?.push?.problem).toContain('the job changed nothing');
  await using nested = await worked(async ({ path }) => {
    await writeFile(join(path, 'a.txt'), 'x');
    await createGitRepo(join(path, 'inner'), { 'x.txt': 'x' });
  });
  expect((await nested.changes('nested'))?.push?.problem).toContain('not whole');
  expect(await origin.git('for-each-ref')).toBe(before);
});

test('the first commit of an empty remote is pushed as any other, and nothing is no commit', async () => {
  const empty = await temporaryDirectory();
  await origin.git('init', '--quiet', '--bare', '--initial-branch=main', join(empty, 'origin'));
  const remote = openGitRepo(join(empty, 'origin'));
  const { manager } = await startedFixture({ root: empty, baseUrl: remote.path });
  await using idle = await manager.create(createJobId(), never);
  expect((await idle.changes('idle'))?.push?.problem).toContain('the job changed nothing');
  await using busy = await manager.create(createJobId(), never);
  await writeFile(join(busy.path, 'a.txt'), 'a');
  expect((await busy.changes('busy'))?.push?.problem).toBeNull();
  expect(await remote.git('ls-tree', '-r', '--name-only', 'busy')).toBe('a.txt');
});

test('the main branch of the remote is not pushed, though the base follows another one', async () => {
  const other = await temporaryDirectory();
  await origin.git('branch', 'dev');
  const { manager } = await startedFixture({ root: other, baseUrl: origin.path, baseBranch: 'dev' });
  await using workspace = await manager.create(createJobId(), never);
  await writeFile(join(workspace.path, 'a.txt'), 'x');
  expect((await workspace.changes('main'))?.push?.problem).toContain('the main branch of the remote');
});

test("neither the job's hooks and settings nor links in its store have a part in the push", async () => {
  const trap = join(root, 'trap');
  await using workspace = await worked(async ({ path }) => {
    const clone = openGitRepo(path);
    await clone.commit({ 'b.txt': 'b' });
    await mkdir(join(path, '.git', 'hooks'), { recursive: true });
    for (const hook of ['pre-push', 'pre-commit', 'reference-transaction']) {
      await writeFile(join(path, '.git', 'hooks', hook), `#!/bin/sh\ntouch ${trap}\n`, { mode: 0o755 });
    }
    await clone.git('config', 'remote.origin.url', join(root, 'elsewhere'));
    await clone.git('config', 'remote.origin.receivepack', `touch ${trap}; git-receive-pack`);
    await clone.git('config', 'url.ext::false.insteadOf', origin.path);
    await clone.git('config', 'core.sshCommand', `touch ${trap}`);
  });
  expect((await workspace.changes('safe'))?.push?.problem).toBeNull();
  expect((await execa('ls', [trap], { reject: false })).failed).toBe(true);
  await using linked = await worked(async ({ path }) => {
    await openGitRepo(path).commit({ 'b.txt': 'b' });
    await symlink('/nonexistent', join(path, '.git', 'objects', 'pack', 'pack-x.pack'));
  });
  expect((await linked.changes('linked'))?.push).toMatchObject({ commit: null });
});

test('a remote that refuses, or is away, is told beside a change set that is whole', async () => {
  await writeFile(join(origin.path, 'hooks', 'pre-receive'), '#!/bin/sh\nexit 1\n', { mode: 0o755 }).catch(async () => {
    await mkdir(join(origin.path, 'hooks'));
    await writeFile(join(origin.path, 'hooks', 'pre-receive'), '#!/bin/sh\nexit 1\n', { mode: 0o755 });
  });
  await using refused = await worked(async ({ path }) => await writeFile(join(path, 'a.txt'), 'x'));
  expect((await refused.changes('refused'))?.push?.problem).toContain('the remote refused it');
  await using away = await worked(async ({ path }) => await writeFile(join(path, 'a.txt'), 'x'));
  await rm(origin.path, { recursive: true });
  const changes = await away.changes('away');
  expect(changes).toMatchObject({ filesChanged: 1, problem: null, push: { branch: 'away', commit: null } });
});
