import { mkdir, readdir, readFile, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { execa } from 'execa';
import { describe, expect, test } from 'vitest';
import { createJobId } from '../../src/jobs/job-id.ts';
import type { Workspace } from '../../src/jobs/ports.ts';
import { createGitRepo, type GitRepo, gitEnv, openGitRepo } from '../helpers/git-repo.ts';
import { waitFor } from '../helpers/wait.ts';
import {
  cleanUpAfterEach,
  type Fixture,
  namesIn,
  never,
  startedFixture,
  temporaryDirectory,
  wrapGit,
} from './fixture.ts';

cleanUpAfterEach();

const allowFile = ['-c', 'protocol.file.allow=always'];

async function addSubmodule(repo: GitRepo, url: string, path: string): Promise<string> {
  await repo.git(...allowFile, 'submodule', '--quiet', 'add', url, path);
  return await repo.commit({});
}

/** `origin` has `libs/sub`, which has `deep/inner`; a service whose base is a clone of it. */
async function nested(options: Parameters<typeof startedFixture>[0] = {}) {
  const root = await temporaryDirectory();
  const inner = await createGitRepo(join(root, 'inner'), { 'i.txt': 'inner\n' });
  const sub = await createGitRepo(join(root, 'sub'), { 's.txt': 'one\n', 'd/t.txt': 'two\n' });
  await addSubmodule(sub, '../inner', 'deep/inner');
  const origin = await createGitRepo(join(root, 'origin'), { 'a.txt': 'a\n' });
  await addSubmodule(origin, '../sub', 'libs/sub');
  const fixture = await startedFixture({
    ...{ root: join(root, 'service'), baseUrl: origin.path, submodules: true, fetchDebounceMs: 0 },
    ...options,
  });
  return { root, inner, sub, origin, fixture };
}

async function changesIn({ manager }: Fixture, work: (workspace: Workspace) => Promise<unknown>, pushBranch?: string) {
  const id = createJobId();
  await using workspace = await manager.create(id, never);
  await work(workspace);
  const summary = await workspace.changes(pushBranch);
  const patch = (await (await manager.patchOf(id))?.toArray())?.join('') ?? '';
  const files = (await manager.changesOf(id))?.files.map(({ path, change, omitted }) => [path, change, omitted]) ?? [];
  return { summary, patch, files };
}

const statusOf = async (path: string) =>
  (await execa('git', ['status', '--porcelain'], { cwd: path, env: gitEnv })).stdout;

describe('with SUBMODULES', () => {
  test('a workspace holds the files of submodules and of theirs, at the recorded commits, and is clean', async () => {
    const { sub, fixture } = await nested();
    await sub.commit({ 's.txt': 'newer than recorded\n' });
    await using workspace = await fixture.create();
    const place = join(workspace.path, 'libs', 'sub');
    expect(await readFile(join(place, 's.txt'), 'utf8')).toBe('one\n');
    expect(await readFile(join(place, 'deep', 'inner', 'i.txt'), 'utf8')).toBe('inner\n');
    expect(await statusOf(workspace.path)).toBe('');
    const { stdout } = await execa('git', ['submodule', 'status', '--recursive'], { cwd: workspace.path, env: gitEnv });
    expect(stdout.split('\n').map((line) => line.replace(/[0-9a-f]{40}/, 'id'))).toEqual([
      expect.stringMatching(/^ id libs\/sub/),
      expect.stringMatching(/^ id libs\/sub\/deep\/inner/),
    ]);
    expect(await workspace.changes()).toMatchObject({ filesChanged: 0, truncated: false, problem: null });
    expect(await workspace.changes()).not.toHaveProperty('leftOut');
  });

  test('a server that gives no commit by its id is asked for its branches; one that lost the commit is said to have', async () => {
    const root = await temporaryDirectory();
    await writeFile(join(root, 'old-protocol'), '[protocol]\n\tversion = 0\n');
    const { sub, origin, fixture } = await nested({
      gitEnv: { ...gitEnv, GIT_CONFIG_GLOBAL: join(root, 'old-protocol') },
    });
    await sub.commit({ 's.txt': 'newer than recorded\n' });
    {
      await using workspace = await fixture.create();
      expect(await readFile(join(workspace.path, 'libs/sub/s.txt'), 'utf8')).toBe('one\n');
    }
    await origin.git('update-index', '--cacheinfo', `160000,${'1'.repeat(40)},libs/sub`);
    await origin.git('commit', '--quiet', '--message=lost');
    await using workspace = await fixture.create();
    const leftOut = [{ path: 'libs/sub', kind: 'submodule', reason: 'the remote has no such commit' }];
    expect(await workspace.changes()).toMatchObject({ filesChanged: 0, leftOut });
  });

  test('ready clones and copies have them, each fetched once, and none borrows from another place', async () => {
    const git = await wrapGit();
    const { fixture } = await nested({ gitEnv: git.env, poolSize: 3 });
    await fixture.manager.sweep();
    await waitFor(fixture.manager.ready, (ready) => ready === 3, { what: 'a full pool' });
    const fetches = await git.count('fetch');
    for (let n = 0; n < 2; n += 1) {
      const { files, patch, summary } = await changesIn(fixture, async ({ path }) => {
        expect(await statusOf(path)).toBe('');
        expect(await readFile(join(path, 'libs/sub/deep/inner/i.txt'), 'utf8')).toBe('inner\n');
        expect(await namesIn(join(path, '.git/modules/libs/sub/objects/info'))).not.toContain('alternates');
        await writeFile(join(path, 'libs/sub/s.txt'), 'changed\n');
      });
      expect(files).toEqual([['libs/sub/s.txt', 'modified', null]]);
      expect(patch).toContain('+changed');
      expect(summary).toMatchObject({ truncated: false, problem: null });
    }
    // One look at the remote of the base for each job; nothing more.
    expect(await git.count('fetch')).toBe(fetches + 2);
  });

  test('a job gets the submodules of its own commit: after the base moved, and for a ref', async () => {
    const { sub, origin, fixture } = await nested({ poolSize: 1 });
    await fixture.manager.sweep();
    await waitFor(fixture.manager.ready, (ready) => ready === 1, { what: 'a full pool' });
    await origin.git('tag', 'before');
    await sub.commit({ 's.txt': 'moved\n' });
    await origin.git('-C', 'libs/sub', ...allowFile, 'pull', '--quiet');
    await addSubmodule(origin, '../inner', 'more');
    await using moved = await fixture.create();
    expect(await readFile(join(moved.path, 'libs/sub/s.txt'), 'utf8')).toBe('moved\n');
    expect(await readFile(join(moved.path, 'more/i.txt'), 'utf8')).toBe('inner\n');
    expect(await statusOf(moved.path)).toBe('');
    await using old = await fixture.manager.create(createJobId(), never, { ref: 'before' });
    expect(await readFile(join(old.path, 'libs/sub/s.txt'), 'utf8')).toBe('one\n');
    expect(await namesIn(join(old.path, 'more'))).toEqual([]);
    await origin.git('rm', '--quiet', '-f', 'libs/sub');
    await origin.commit({});
    await using without = await fixture.create();
    expect(await namesIn(without.path)).not.toContain('libs');
    expect(await namesIn(join(without.path, 'more'))).toContain('i.txt');
    expect(await statusOf(without.path)).toBe('');
  });

  test('what a job changed inside is in the patch, with paths from the top, and applies where the submodules are', async () => {
    const { root, origin, fixture } = await nested();
    const { files, patch, summary } = await changesIn(fixture, async ({ path }) => {
      const place = join(path, 'libs', 'sub');
      await writeFile(join(path, 'a.txt'), 'b\n');
      await writeFile(join(place, 's.txt'), 'changed\n');
      await rename(join(place, 'd', 't.txt'), join(place, 'd', 'ü u.txt'));
      await writeFile(join(place, 'deep/inner/new.txt'), 'new\n');
    });
    expect(files).toEqual([
      ['a.txt', 'modified', null],
      ['libs/sub/d/t.txt', 'deleted', null],
      ['libs/sub/d/ü u.txt', 'added', null],
      ['libs/sub/s.txt', 'modified', null],
      ['libs/sub/deep/inner/new.txt', 'added', null],
    ]);
    expect(summary).toMatchObject({ filesChanged: 5, insertions: 4, deletions: 3, truncated: false, problem: null });
    expect(summary?.patchBytes).toBe(Buffer.byteLength(patch));
    await writeFile(join(root, 'all.patch'), patch);
    const other = join(root, 'other');
    await origin.git(...allowFile, 'clone', '--quiet', '--recurse-submodules', origin.path, other);
    await openGitRepo(other).git('apply', join(root, 'all.patch'));
    expect(await readFile(join(other, 'libs/sub/s.txt'), 'utf8')).toBe('changed\n');
    expect(await readFile(join(other, 'libs/sub/deep/inner/new.txt'), 'utf8')).toBe('new\n');
    expect(await namesIn(join(other, 'libs/sub/d'))).toEqual(['ü u.txt']);
  });

  test('a change set that is taken again, also by the process after the one that died, is the same', async () => {
    const { root, fixture } = await nested();
    const id = createJobId();
    const workspace = await fixture.manager.create(id, never);
    await writeFile(join(workspace.path, 'libs/sub/s.txt'), 'changed\n');
    const first = await workspace.changes();
    expect(first).toMatchObject({ filesChanged: 1, insertions: 1, truncated: false });
    expect(await workspace.changes()).toEqual(first);
    await fixture.manager.close();
    const next = await startedFixture({ root: join(root, 'service'), submodules: true });
    await next.manager.sweep();
    expect(await next.manager.changesOf(id)).toMatchObject({ ...first, files: [{ path: 'libs/sub/s.txt' }] });
  });

  test('commits inside are in the patch as files, the moved submodule is named, and nothing is pushed', async () => {
    const { fixture } = await nested();
    const work = async ({ path }: Workspace) => {
      await openGitRepo(join(path, 'libs', 'sub')).commit({ 's.txt': 'committed\n' });
      await openGitRepo(path).commit({});
    };
    const { files, patch, summary } = await changesIn(fixture, work, 'result');
    expect(files).toEqual([
      ['libs/sub', 'modified', 'repository'],
      ['libs/sub/s.txt', 'modified', null],
    ]);
    expect(patch).toContain('+committed');
    expect(summary).toMatchObject({ truncated: true, commitsMade: 1, push: { commit: null } });
    expect(summary?.push?.problem).toContain('belong to other repositories');
  });

  test('one that is gone, or that something else stands in the place of, is named, and not followed', async () => {
    const { root, fixture } = await nested();
    const gone = await changesIn(fixture, async ({ path }) => await rm(join(path, 'libs'), { recursive: true }));
    expect(gone.files).toEqual([['libs/sub', 'deleted', 'repository']]);
    await mkdir(join(root, 'secret', 'sub'), { recursive: true });
    await writeFile(join(root, 'secret', 'sub', 's.txt'), 'secret\n');
    const led = await changesIn(fixture, async ({ path }) => {
      await rm(join(path, 'libs'), { recursive: true });
      await symlink(join(root, 'secret'), join(path, 'libs'));
    });
    expect(led.files).toContainEqual(['libs/sub', 'modified', 'repository']);
    expect(led.patch).not.toContain('+secret');
  });

  test('a submodule that cannot be fetched stops no job; it is named with the reason, and there once it can be', async () => {
    const { root, sub, inner, fixture } = await nested({ refetchMs: 50, poolSize: 1 });
    await rename(inner.path, join(root, 'away'));
    const lacking = await changesIn(fixture, async ({ path }) => {
      expect(await readFile(join(path, 'libs/sub/s.txt'), 'utf8')).toBe('one\n');
      expect(await readdir(join(path, 'libs/sub/deep/inner'))).toEqual([]);
    });
    const reason = 'there is no repository at its address';
    expect(lacking.summary).toMatchObject({
      ...{ filesChanged: 0, truncated: false, problem: null },
      leftOut: [{ path: 'libs/sub/deep/inner', kind: 'submodule', reason }],
    });
    expect(fixture.log.lines).toContainEqual(
      expect.objectContaining({ level: 'warn', fields: expect.objectContaining({ reason }) }),
    );
    await fixture.manager.sweep();
    await waitFor(fixture.manager.ready, (ready) => ready === 1, { what: 'a full pool' });
    await rename(join(root, 'away'), inner.path);
    await waitFor(
      async () => {
        await using workspace = await fixture.create();
        return await namesIn(join(workspace.path, 'libs/sub/deep/inner'));
      },
      (names) => names.includes('i.txt'),
      { what: 'the submodule', timeoutMs: 20_000 },
    );
    expect(await sub.git('fsck')).toBe('');
  });
});

test('without SUBMODULES nothing of this is done', async () => {
  const { fixture } = await nested({ submodules: false });
  await using workspace = await fixture.create();
  expect(await readdir(join(workspace.path, 'libs/sub'))).toEqual([]);
  expect(await namesIn(join(workspace.path, '.git'))).not.toContain('modules');
  expect(await namesIn(join(fixture.basePath, '.git'))).not.toContain('agent-service');
});

test('a base without submodules costs no git process more', async () => {
  const counts = async (submodules: boolean) => {
    const root = await temporaryDirectory();
    await createGitRepo(join(root, 'base'), { 'a.txt': 'a', '.gitattributes': '*.txt text\n' });
    const git = await wrapGit();
    const fixture = await startedFixture({ root, submodules, gitEnv: git.env });
    await using workspace = await fixture.create();
    await workspace.changes();
    const commands = ['clone', 'config', 'ls-files', 'status', 'fetch', 'reset', 'check-attr'];
    return await Promise.all(commands.map(git.count));
  };
  expect(await counts(true)).toEqual(await counts(false));
});
