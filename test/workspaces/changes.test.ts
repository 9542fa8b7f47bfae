import { chmod, mkdir, readFile, rename, rm, symlink, unlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { execa } from 'execa';
import { expect, test } from 'vitest';
import type { ChangeSet } from '../../src/jobs/change-set.ts';
import type { JobId } from '../../src/jobs/job.ts';
import { createJobId } from '../../src/jobs/job-id.ts';
import type { Workspace } from '../../src/jobs/ports.ts';
import { createGitRepo, type Files, type GitRepo, openGitRepo } from '../helpers/git-repo.ts';
import { waitFor } from '../helpers/wait.ts';
import { cleanUpAfterEach, type Fixture, namesIn, never, startedFixture, temporaryDirectory } from './fixture.ts';

cleanUpAfterEach();

interface Subject extends Fixture {
  readonly base: GitRepo;
  readonly id: JobId;
  readonly workspace: Workspace;
  readonly clone: GitRepo;
  /** Takes the change set, disposes, and answers what is kept. */
  take(): Promise<ChangeSet>;
  patch(): Promise<string>;
}

async function subjectOf(files: Files): Promise<Subject> {
  const root = await temporaryDirectory();
  const base = await createGitRepo(join(root, 'base'), files);
  const fixture = await startedFixture({ root });
  const id = createJobId();
  const workspace = await fixture.manager.create(id, never);
  return {
    ...fixture,
    ...{ base, id, workspace, clone: openGitRepo(workspace.path) },
    async take() {
      const summary = await workspace.changes();
      await workspace[Symbol.asyncDispose]();
      const details = await fixture.manager.changesOf(id);
      expect(details).toMatchObject({ ...summary });
      if (details === null) throw new Error('no details');
      return details;
    },
    async patch() {
      const stream = await fixture.manager.patchOf(id);
      return stream === null ? '' : (await stream.toArray()).map((chunk: Buffer) => chunk.toString('latin1')).join('');
    },
  };
}

/** A fresh checkout of the base commit with the patch applied: what `git status` and the files say then. */
async function applied({ root, base, patch, workspace }: Subject): Promise<GitRepo> {
  const path = join(root, 'applied');
  await base.git('clone', '--quiet', base.path, path);
  const repo = openGitRepo(path);
  await repo.git('checkout', '--quiet', workspace.baseCommit ?? 'HEAD');
  await writeFile(join(root, 'patch'), Buffer.from(await patch(), 'latin1'));
  await repo.git('apply', '--binary', '--index', join(root, 'patch'));
  return repo;
}

test('committed and uncommitted, new, changed, deleted, renamed, binary and mode changes are one patch that applies', async () => {
  const long = Array.from({ length: 50 }, (_, n) => `line ${n}\n`).join('');
  const files = { 'kept.txt': 'k', 'edited.txt': 'a\nb\n', 'gone.txt': 'g\n', 'old/name.txt': long, 'run.sh': 'x' };
  const subject = await subjectOf({ ...files, '.gitignore': 'ignored/\n', 'committed.txt': '1\n', 'link-to-be': 'x' });
  const { workspace, clone, take } = subject;
  const at = (name: string) => join(workspace.path, name);
  const hash = await clone.commit({ 'committed.txt': '2\n', 'new in commit.txt': 'n\n' });
  await writeFile(at('edited.txt'), 'a\nc\n');
  await unlink(at('gone.txt'));
  await mkdir(at('neu'));
  await rename(at('old/name.txt'), at('neu/naïve "name".txt'));
  await writeFile(at('binary.bin'), Buffer.from(Array.from({ length: 1000 }, (_, n) => (n * 7) % 256)));
  await chmod(at('run.sh'), 0o755);
  await unlink(at('link-to-be'));
  await symlink('kept.txt', at('link-to-be'));
  await mkdir(at('ignored'));
  await writeFile(at('ignored/secret.txt'), 'not in the patch');
  const changes = await take();
  expect(changes).toMatchObject({ truncated: false, problem: null, headCommit: hash, commitsMade: 1, filesChanged: 8 });
  expect(changes.baseCommit).toBe(workspace.baseCommit);
  expect(changes.commits).toEqual([
    {
      hash,
      authorName: 'Test',
      authorEmail: 'test@example.com',
      authoredAt: '2024-01-01T00:00:00+00:00',
      message: 'committed.txt new in commit.txt',
    },
  ]);
  expect(Object.fromEntries(changes.files.map(({ path, change }) => [path, change]))).toEqual({
    'binary.bin': 'added',
    'committed.txt': 'modified',
    'edited.txt': 'modified',
    'gone.txt': 'deleted',
    'link-to-be': 'type_changed',
    'neu/naïve "name".txt': 'renamed',
    'new in commit.txt': 'added',
    'run.sh': 'modified',
  });
  expect(changes.files.find(({ change }) => change === 'renamed')?.oldPath).toBe('old/name.txt');
  expect(changes.files.find(({ path }) => path === 'edited.txt')).toMatchObject({ insertions: 1, deletions: 1 });
  expect(changes.files.find(({ path }) => path === 'binary.bin')).toMatchObject({ insertions: null, deletions: null });
  expect(changes.files.find(({ path }) => path === 'run.sh')).toMatchObject({ oldMode: '100644', newMode: '100755' });

  const result = await applied(subject);
  expect(await readFile(join(result.path, 'neu/naïve "name".txt'), 'utf8')).toBe(long);
  expect((await readFile(join(result.path, 'binary.bin'))).length).toBe(1000);
  expect(await readFile(join(result.path, 'committed.txt'), 'utf8')).toBe('2\n');
  expect(await namesIn(result.path)).not.toContain('ignored');
  expect(Buffer.byteLength(await subject.patch(), 'latin1')).toBe(changes.patchBytes);
});

test('a job that changed nothing has an empty change set and no patch', async () => {
  const { take, patch, root, id } = await subjectOf({ 'a.txt': 'a' });
  expect(await take()).toMatchObject({
    filesChanged: 0,
    commitsMade: 0,
    patchBytes: 0,
    truncated: false,
    problem: null,
  });
  expect(await patch()).toBe('');
  await waitFor(
    () => namesIn(join(root, 'scratch')),
    (names) => names.length === 0,
    { what: 'the notes on the workspace to be gone' },
  );
  expect(await namesIn(join(root, 'runs', id))).toEqual(['changes.json']);
});

test('a change in the second of the checkout, of the same size, is seen', async () => {
  const { workspace, take } = await subjectOf({ 'a.txt': 'a' });
  await writeFile(join(workspace.path, 'a.txt'), 'b');
  expect((await take()).files).toMatchObject([{ path: 'a.txt', change: 'modified' }]);
});

test('what a job did to its .git does not hide its changes', async () => {
  const { workspace, take } = await subjectOf({ 'a.txt': 'a' });
  await rm(join(workspace.path, '.git'), { recursive: true });
  await writeFile(join(workspace.path, 'a.txt'), 'b');
  expect(await take()).toMatchObject({ filesChanged: 1, headCommit: null, commitsMade: 0 });
});

test('a workspace in whose place the job put a link to elsewhere is not read', async () => {
  const { workspace, root, take, patch } = await subjectOf({ 'a.txt': 'a' });
  await mkdir(join(root, 'elsewhere'));
  await writeFile(join(root, 'elsewhere', 'secret.txt'), 'secret');
  await rename(workspace.path, join(root, 'moved'));
  await symlink(join(root, 'elsewhere'), workspace.path);
  expect(await take()).toMatchObject({ truncated: true, files: [], problem: expect.stringContaining('replaced') });
  expect(await patch()).toBe('');
});

test('files too large, out of reach, or repositories of their own are left out, and this is said', async () => {
  const subject = await subjectOf({ 'a.txt': 'a', 'd/f.txt': 'f' });
  const { workspace, take, patch } = subject;
  await writeFile(join(workspace.path, 'huge.bin'), Buffer.alloc(17 * 1024 * 1024));
  await createGitRepo(join(workspace.path, 'nested'), { 'n.txt': 'n' });
  await execa('mkfifo', [join(workspace.path, 'pipe')]);
  await rm(join(workspace.path, 'd'), { recursive: true });
  await symlink('/etc', join(workspace.path, 'd'));
  await writeFile(join(workspace.path, 'a.txt'), 'b');
  const changes = await take();
  expect(changes).toMatchObject({ truncated: true, problem: expect.stringContaining('2 of the changed files') });
  const omitted = changes.files.filter((file) => file.omitted !== null);
  expect(omitted.map(({ path, omitted: reason }) => [path, reason])).toEqual([
    ['huge.bin', 'too_large'],
    ['nested/', 'repository'],
  ]);
  expect(await patch()).not.toContain('passwd');
  const result = await applied(subject);
  expect(await result.git('status', '--porcelain')).toBe('M  a.txt\nA  d\nD  d/f.txt');
});

test('the patch of an empty repository is against nothing', async () => {
  const root = await temporaryDirectory();
  const repo = await createGitRepo(join(root, 'base'), {});
  await repo.git('update-ref', '-d', 'HEAD');
  const { manager } = await startedFixture({ root });
  const id = createJobId();
  await using workspace = await manager.create(id, never);
  await openGitRepo(workspace.path).commit({ 'a.txt': 'a\n' });
  const changes = await workspace.changes();
  expect(changes).toMatchObject({ baseCommit: null, filesChanged: 1, insertions: 1, commitsMade: 1, problem: null });
});

test('of many commits the newest are listed and all are counted', async () => {
  const { clone, take, workspace } = await subjectOf({ 'a.txt': 'a' });
  for (let n = 0; n < 3; n += 1)
    await clone.git('commit', '--quiet', '--allow-empty', `--message=${n} ${'x'.repeat(9000)}`);
  const changes = await take();
  expect(changes.commitsMade).toBe(3);
  expect(changes.commits.map(({ message }) => [message[0], message.length])).toEqual([
    ['2', 4000],
    ['1', 4000],
    ['0', 4000],
  ]);
  expect(workspace.baseCommit).not.toBe(changes.headCommit);
});

test('a job that borrows the objects of another repository does not bring its commits out', async () => {
  const { clone, workspace, root, take } = await subjectOf({ 'a.txt': 'a' });
  const other = await createGitRepo(join(root, 'other'), { 'secret.txt': 'secret' });
  await mkdir(join(workspace.path, '.git', 'objects', 'info'), { recursive: true });
  await writeFile(join(workspace.path, '.git', 'objects', 'info', 'alternates'), `${other.path}/.git/objects\n`);
  await clone.git('reset', '--quiet', '--soft', await other.git('rev-parse', 'HEAD'));
  expect(await take()).toMatchObject({ commits: [], commitsMade: 0, problem: expect.stringContaining('commits') });
});

test('plain text of files that the repository keeps encrypted is not in the patch', async () => {
  const subject = await subjectOf({
    '.gitattributes': 'secret/** filter=git-crypt diff=git-crypt\n',
    'secret/key': 'cipher',
  });
  const { workspace, take, patch } = subject;
  await writeFile(join(workspace.path, 'secret', 'key'), 'PLAIN');
  await writeFile(join(workspace.path, 'secret', 'new'), 'PLAIN');
  await writeFile(join(workspace.path, 'open.txt'), 'fine');
  await writeFile(join(workspace.path, '.gitattributes'), '');
  const changes = await take();
  expect(changes.files.map(({ path, omitted }) => [path, omitted])).toEqual([
    ['secret/key', 'encrypted'],
    ['secret/new', 'encrypted'],
    ['.gitattributes', null],
    ['open.txt', null],
  ]);
  expect(changes.truncated).toBe(true);
  expect(await patch()).not.toContain('PLAIN');
});
