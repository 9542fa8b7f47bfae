import { chown, mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { inspect } from 'node:util';
import { describe, expect, test } from 'vitest';
import { WorkspaceError } from '../../src/jobs/errors.ts';
import { createGitRepo, openGitRepo } from '../helpers/git-repo.ts';
import { waitFor } from '../helpers/wait.ts';
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

describe('a base that is not there', () => {
  test('without a remote becomes an empty repository with one commit', async () => {
    const fixture = await startedFixture();
    await using workspace = await fixture.create();
    expect(await fixture.manager.check()).toBeNull();
    expect(await openGitRepo(fixture.basePath).git('rev-list', '--count', 'main')).toBe('1');
    expect(await namesIn(workspace.path)).toEqual(['.git']);
    expect(workspace.baseCommit).toBe(await openGitRepo(workspace.path).git('rev-parse', 'main'));
  });

  test.each(['main', 'master', 'trunk/next'])('is cloned, on the default branch of its remote: %s', async (branch) => {
    const root = await temporaryDirectory();
    const origin = await createGitRepo(join(root, 'origin'), { 'a.txt': branch }, branch);
    const fixture = await startedFixture({ root, baseUrl: origin.path });
    await using workspace = await fixture.create();
    expect(await openGitRepo(workspace.path).git('branch', '--show-current')).toBe(branch);
    expect(await readFile(join(workspace.path, 'a.txt'), 'utf8')).toBe(branch);
    await waitFor(
      () => namesIn(fixture.basePath),
      (names) => names.join() === '.git,a.txt',
      { what: 'the work tree' },
    );
  });

  test('is cloned on the branch that is asked for', async () => {
    const root = await temporaryDirectory();
    const origin = await createGitRepo(join(root, 'origin'), { 'a.txt': 'main' });
    await origin.git('checkout', '--quiet', '-b', 'release');
    const commit = await origin.commit({ 'a.txt': 'release' });
    await origin.git('checkout', '--quiet', 'main');
    const fixture = await startedFixture({ root, baseUrl: origin.path, baseBranch: 'release' });
    await using workspace = await fixture.create();
    expect(workspace.baseCommit).toBe(commit);
  });

  test('may be the root of a volume: empty but for lost+found and the rest of a broken attempt', async () => {
    const root = await temporaryDirectory();
    const origin = await createGitRepo(join(root, 'origin'), { 'a.txt': 'a' });
    await mkdir(join(root, 'base', 'lost+found'), { recursive: true });
    await mkdir(join(root, 'base', '.partial-0123', 'x'), { recursive: true });
    const fixture = await startedFixture({ root, baseUrl: origin.path });
    await using workspace = await fixture.create();
    expect(workspace.baseCommit).not.toBeNull();
    expect(await namesIn(fixture.basePath)).not.toContain('.partial-0123');
  });

  test('of an empty remote gives empty workspaces, and follows the first commit', async () => {
    const root = await temporaryDirectory();
    await mkdir(join(root, 'origin'));
    const origin = openGitRepo(join(root, 'origin'));
    await origin.git('init', '--quiet', '--initial-branch=main');
    const fixture = await startedFixture({ root, baseUrl: origin.path });
    await using empty = await fixture.create();
    expect(empty.baseCommit).toBeNull();
    const commit = await origin.commit({ 'a.txt': 'a' });
    fixture.advance(20_000);
    await using first = await fixture.create();
    expect(first.baseCommit).toBe(commit);
  });

  test('and cannot be cloned is told by the check, fails each job, and heals when the remote is back', async () => {
    const root = await temporaryDirectory();
    const url = join(root, 'user:secret', 'origin');
    const fixture = await startedFixture({ root, baseUrl: url });
    expect(await fixture.manager.check()).toContain('no repository at BASE_REPO_URL');
    const error = await fixture.create().catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(WorkspaceError);
    expect(String(error)).not.toContain(root);
    expect(await namesIn(fixture.basePath)).toEqual([]);
    await createGitRepo(url, { 'a.txt': 'a' });
    await using workspace = await fixture.create();
    expect(workspace.baseCommit).not.toBeNull();
    expect(await fixture.manager.check()).toBeNull();
  });

  test('and whose remote has no such branch says so', async () => {
    const root = await temporaryDirectory();
    const origin = await createGitRepo(join(root, 'origin'), { 'a.txt': 'a' });
    const fixture = await startedFixture({ root, baseUrl: origin.path, baseBranch: 'gone' });
    expect(await fixture.manager.check()).toContain('BASE_BRANCH');
  });

  test('never tells the password of the remote: not in an error, not in the log', async () => {
    // Newer versions of git hide it themselves; this one repeats whatever it was given.
    const { env } = await wrapGit({ clone: 'echo "fatal: unable to access $*" >&2; exit 128' });
    const fixture = await startedFixture({ baseUrl: 'http://user:s3cret@127.0.0.1:1/repo.git', gitEnv: env });
    const error = await fixture.create().catch((reason: unknown) => reason);
    expect(await fixture.manager.check()).toContain('does not answer');
    expect(String(error)).toContain('does not answer');
    const logged = fixture.log.lines.map(({ fields }) => inspect(fields, { depth: null })).join();
    expect(logged).toContain('127.0.0.1');
    expect(logged).not.toContain('s3cret');
  });

  test('is not taken from a transport that runs programs, nor a branch for an option', async () => {
    const root = await temporaryDirectory();
    const fixture = await startedFixture({ root, baseUrl: `ext::sh -c touch% ${root}/ran` });
    expect(await fixture.manager.check()).not.toBeNull();
    const origin = await createGitRepo(join(root, 'origin'), { 'a.txt': 'a' });
    const hostile = { root, baseUrl: origin.path, baseBranch: `--upload-pack=touch ${root}/ran` };
    const other = await startedFixture(hostile);
    expect(await other.manager.check()).toContain('BASE_BRANCH is not the name of a branch');
    expect(await namesIn(root)).not.toContain('ran');
  });

  test('and whose start is aborted rejects with the reason', async () => {
    const { env, pids } = await wrapGit({ init: 'sleep 600 & echo $! >>"$PIDS"; wait' });
    const fixture = await createFixture({ gitEnv: env });
    const controller = new AbortController();
    const starting = fixture.manager.start(controller.signal);
    await waitFor(pids, (seen) => seen.length === 1);
    controller.abort('shutdown');
    await expect(starting).rejects.toBe('shutdown');
  });
});

describe('a base that is there', () => {
  test('is used as it is when it has no remote, on its own branch', async () => {
    const root = await temporaryDirectory();
    const base = await createGitRepo(join(root, 'base'), { 'a.txt': 'a' }, 'mine');
    await writeFile(join(base.path, 'a.txt'), 'not committed');
    const fixture = await startedFixture({ root });
    await using workspace = await fixture.create();
    expect(await readFile(join(workspace.path, 'a.txt'), 'utf8')).toBe('a');
    expect(await readFile(join(base.path, 'a.txt'), 'utf8')).toBe('not committed');
    expect(await openGitRepo(workspace.path).git('branch', '--show-current')).toBe('mine');
  });

  test('and bare follows its remote', async () => {
    const root = await temporaryDirectory();
    const origin = await createGitRepo(join(root, 'origin'), { 'a.txt': 'a' });
    await origin.git('clone', '--quiet', '--bare', '--', origin.path, join(root, 'base'));
    const commit = await origin.commit({ 'a.txt': 'b' });
    const fixture = await startedFixture({ root });
    await using workspace = await fixture.create();
    expect(workspace.baseCommit).toBe(commit);
  });

  test('asks its remote for the default branch when it has not noted it', async () => {
    const root = await temporaryDirectory();
    const origin = await createGitRepo(join(root, 'origin'), { 'a.txt': 'a' }, 'trunk');
    const base = await createGitRepo(join(root, 'base'), { 'other.txt': 'x' }, 'main');
    await base.git('remote', 'add', 'origin', '../origin');
    const fixture = await startedFixture({ root });
    await using workspace = await fixture.create();
    expect(workspace.baseCommit).toBe(await origin.git('rev-parse', 'HEAD'));
    expect(await openGitRepo(workspace.path).git('remote', 'get-url', 'origin')).toBe(origin.path);
  });

  test('falls back to its own branch when the remote does not answer', async () => {
    const root = await temporaryDirectory();
    const base = await createGitRepo(join(root, 'base'), { 'a.txt': 'a' }, 'mine');
    await base.git('remote', 'add', 'origin', join(root, 'nowhere'));
    const fixture = await startedFixture({ root });
    await using workspace = await fixture.create();
    expect(await openGitRepo(workspace.path).git('branch', '--show-current')).toBe('mine');
  });

  test('and has not the branch that is asked for makes no workspace of another branch', async () => {
    const root = await temporaryDirectory();
    await createGitRepo(join(root, 'base'), { 'a.txt': 'a' });
    const fixture = await startedFixture({ root, baseBranch: 'release' });
    await expect(fixture.create()).rejects.toThrow('BASE_BRANCH');
  });

  test('but is no repository is told by the check and left alone, inside another repository too', async () => {
    const root = await temporaryDirectory();
    await createGitRepo(root, { 'base/notes.txt': 'precious', 'a.txt': 'a' });
    const fixture = await startedFixture({ root });
    expect(await fixture.manager.check()).toContain('no git repository');
    await expect(fixture.create()).rejects.toThrow(WorkspaceError);
    expect(await readFile(join(root, 'base', 'notes.txt'), 'utf8')).toBe('precious');
    expect(await namesIn(fixture.basePath)).toEqual(['notes.txt']);
  });

  test('but broken, inside another repository, is not mistaken for that one', async () => {
    const root = await temporaryDirectory();
    await createGitRepo(root, { 'a.txt': 'a' });
    await mkdir(join(root, 'base', '.git'), { recursive: true });
    const fixture = await startedFixture({ root });
    expect(await fixture.manager.check()).not.toBeNull();
    await expect(fixture.create()).rejects.toThrow(WorkspaceError);
  });

  test('and goes away is told by the check, and made again for the next job', async () => {
    const root = await temporaryDirectory();
    const origin = await createGitRepo(join(root, 'origin'), { 'a.txt': 'a' });
    const fixture = await startedFixture({ root, baseUrl: origin.path });
    await fixture.create(never);
    await waitFor(
      () => namesIn(fixture.basePath),
      (names) => names.includes('a.txt'),
    );
    await rename(fixture.basePath, join(root, 'moved'));
    expect(await fixture.manager.check()).toContain('gone');
    await using workspace = await fixture.create();
    expect(workspace.baseCommit).not.toBeNull();
    await rm(join(root, 'moved'), { recursive: true });
  });

  test.runIf(process.getuid?.() === 0)('but of another user is told by the check with what to do', async () => {
    const root = await temporaryDirectory();
    const base = await createGitRepo(join(root, 'base'), { 'a.txt': 'a' });
    await chown(join(base.path, '.git'), 12_345, 12_345);
    const fixture = await startedFixture({ root });
    expect(await fixture.manager.check()).toContain('change its owner');
  });
});

test('a jobs directory on another file system is worth a warning', async () => {
  const shm = join('/dev/shm', `workspaces-${process.pid}`);
  const fixture = await startedFixture({ jobsDir: shm });
  try {
    expect(fixture.log.lines.filter(({ level }) => level === 'warn').map(({ message }) => message)).toEqual([
      'JOBS_DIR is on another file system than WORKSPACE_DIR: each clone costs more',
    ]);
  } finally {
    await rm(shm, { recursive: true });
  }
});
