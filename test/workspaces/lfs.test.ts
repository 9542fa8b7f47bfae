import { randomBytes } from 'node:crypto';
import { chmod, cp, readFile, rename, rm, stat, utimes, writeFile } from 'node:fs/promises';
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
import { serveLfs } from './lfs-server.ts';

cleanUpAfterEach();

const installed = !(await execa('git', ['lfs', 'version'], { reject: false })).failed;
if (!installed) console.warn('git-lfs is not installed: the tests that need it are SKIPPED');

const attributes = '*.bin filter=lfs diff=lfs merge=lfs -text\n';

/** A repository in which `*.bin` is kept by LFS. */
async function createLfsRepo(path: string, files: Readonly<Record<string, string>>): Promise<GitRepo> {
  const repo = await createGitRepo(path, { '.gitattributes': attributes, 'a.txt': 'a\n' });
  await repo.git('lfs', 'install', '--local', '--skip-repo');
  await repo.commit(files);
  expect(await repo.git('show', `HEAD:${Object.keys(files)[0]}`)).toContain('oid sha256:');
  return repo;
}

const large = randomBytes(100_000).toString('base64');

async function service(options: Parameters<typeof startedFixture>[0] = {}) {
  const root = await temporaryDirectory();
  const origin = await createLfsRepo(join(root, 'origin'), { 'big.bin': large, 'd/ü small.bin': 'small\n' });
  const fixture = await startedFixture({
    ...{ root: join(root, 'service'), baseUrl: origin.path, lfs: true, fetchDebounceMs: 0 },
    ...options,
  });
  return { root, origin, fixture };
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

const inJob = async (path: string, ...args: readonly string[]) =>
  (await execa('git', args, { cwd: path, env: gitEnv, extendEnv: false })).stdout;

const unchanged = { filesChanged: 0, truncated: false, problem: null };

describe.runIf(installed)('with LFS', () => {
  test('a workspace holds the content, is clean for the agent, and shows no change', async () => {
    const { fixture } = await service();
    const { summary } = await changesIn(fixture, async ({ path }) => {
      expect(await readFile(join(path, 'big.bin'), 'utf8')).toBe(large);
      expect(await readFile(join(path, 'd/ü small.bin'), 'utf8')).toBe('small\n');
      expect(await inJob(path, 'status', '--porcelain')).toBe('');
    });
    expect(summary).toMatchObject(unchanged);
    expect(summary).not.toHaveProperty('leftOut');
  });

  test('ready clones and copies have it, fetched once, without a look by git at its content', async () => {
    const git = await wrapGit();
    const { fixture } = await service({ gitEnv: git.env, poolSize: 3 });
    await fixture.manager.sweep();
    await waitFor(fixture.manager.ready, (ready) => ready === 3, { what: 'a full pool' });
    expect(fixture.manager.method()).not.toBe('git');
    const before = await Promise.all(['lfs', 'clone', 'check-attr', 'cat-file'].map(git.count));
    // The base, and the clone that all are copies of.
    expect(before.slice(0, 2)).toEqual([1, 2]);
    for (let n = 0; n < 3; n += 1) {
      const { summary } = await changesIn(fixture, async ({ path }) => {
        expect(await readFile(join(path, 'big.bin'), 'utf8')).toBe(large);
        // No filter is there to tell: it knows by the times alone.
        const plain = ['-c', 'filter.lfs.process=', '-c', 'filter.lfs.clean=', '-c', 'filter.lfs.required=false'];
        expect(await inJob(path, ...plain, 'status', '--porcelain')).toBe('');
      });
      expect(summary).toMatchObject(unchanged);
    }
    expect(await Promise.all(['lfs', 'clone', 'check-attr', 'cat-file'].map(git.count))).toEqual(before);
  });

  test('a clone that is brought to another commit has the content of that one', async () => {
    const { origin, fixture } = await service({ poolSize: 1 });
    await fixture.manager.sweep();
    await waitFor(fixture.manager.ready, (ready) => ready === 1, { what: 'a full pool' });
    await origin.git('tag', 'before');
    await rm(join(origin.path, 'd'), { recursive: true });
    await origin.commit({ 'big.bin': 'other\n', 'new.bin': 'new\n' });
    const { summary } = await changesIn(fixture, async ({ path }) => {
      expect(await readFile(join(path, 'big.bin'), 'utf8')).toBe('other\n');
      expect(await readFile(join(path, 'new.bin'), 'utf8')).toBe('new\n');
      expect(await namesIn(path)).not.toContain('d');
      expect(await inJob(path, 'status', '--porcelain')).toBe('');
    });
    expect(summary).toMatchObject(unchanged);
    await using old = await fixture.manager.create(createJobId(), never, { ref: 'before' });
    expect(await readFile(join(old.path, 'big.bin'), 'utf8')).toBe(large);
  });

  test('changed content is named, not pushed, and not in the patch; what was written anew but is the same is no change', async () => {
    const { fixture } = await service();
    const work = async ({ path }: Workspace) => {
      await writeFile(join(path, 'big.bin'), 'changed content');
      await writeFile(join(path, 'new.bin'), 'new content');
      await rm(join(path, 'd/ü small.bin'));
      await writeFile(join(path, 'd/ü small.bin'), 'small\n');
      await writeFile(join(path, 'a.txt'), 'b\n');
    };
    const { files, patch, summary } = await changesIn(fixture, work, 'result');
    expect(files.toSorted(([a], [b]) => String(a).localeCompare(String(b)))).toEqual([
      ['a.txt', 'modified', null],
      ['big.bin', 'modified', 'lfs'],
      ['new.bin', 'added', 'lfs'],
    ]);
    expect(patch).not.toContain('content');
    expect(summary).toMatchObject({ truncated: true, push: { commit: null } });
    expect(summary?.push?.problem).toContain('not whole');
  });

  test('a change that hides behind the old size and time is found, also of the mode alone', async () => {
    const { fixture } = await service();
    const hidden = await changesIn(fixture, async ({ path }) => {
      const file = join(path, 'big.bin');
      const { mtime } = await stat(file);
      await writeFile(file, large.replace(/^./, '!'), { flag: 'r+' });
      await utimes(file, mtime, mtime);
    });
    expect(hidden.files).toEqual([['big.bin', 'modified', 'lfs']]);
    const mode = await changesIn(fixture, async ({ path }) => await chmod(join(path, 'big.bin'), 0o755));
    expect(mode.files).toEqual([['big.bin', 'modified', 'lfs']]);
  });

  test('a deleted file, and what an agent commits, are as they are elsewhere; the rest of the work is pushed', async () => {
    const { origin, fixture } = await service();
    const work = async ({ path }: Workspace) => {
      await rm(join(path, 'big.bin'));
      await writeFile(join(path, 'a.txt'), 'b\n');
    };
    const { files, summary } = await changesIn(fixture, work, 'result');
    expect(files).toEqual([
      ['a.txt', 'modified', null],
      ['big.bin', 'deleted', null],
    ]);
    expect(summary).toMatchObject({ truncated: false, problem: null, push: { problem: null } });
    expect(await origin.git('show', 'result:d/ü small.bin')).toContain('oid sha256:');
    const committed = await changesIn(fixture, async ({ path }) => {
      await writeFile(join(path, 'big.bin'), 'changed content');
      await openGitRepo(path).commit({ 'a.txt': 'c\n' });
      expect(await inJob(path, 'show', 'HEAD:big.bin')).toContain('oid sha256:');
    });
    expect(committed.files).toEqual([
      ['big.bin', 'modified', 'lfs'],
      ['a.txt', 'modified', null],
    ]);
  });

  test('content that cannot be had is left as a pointer and named, and there once it can be had', async () => {
    const { root, origin, fixture } = await service({ refetchMs: 50, poolSize: 1 });
    await rename(join(origin.path, '.git', 'lfs'), join(root, 'away'));
    const { summary } = await changesIn(fixture, async ({ path }) => {
      expect(await readFile(join(path, 'big.bin'), 'utf8')).toContain('oid sha256:');
      expect(await inJob(path, 'status', '--porcelain')).toBe('');
    });
    const named = { kind: 'lfs', reason: expect.any(String) };
    expect(summary).toMatchObject({
      ...unchanged,
      leftOut: [
        { path: 'big.bin', ...named },
        { path: 'd/ü small.bin', ...named },
      ],
    });
    await cp(join(root, 'away'), join(origin.path, '.git', 'lfs'), { recursive: true });
    await fixture.manager.sweep();
    await waitFor(
      async () => {
        await using workspace = await fixture.create();
        return await readFile(join(workspace.path, 'big.bin'), 'utf8');
      },
      (text) => text === large,
      { what: 'the content', timeoutMs: 20_000 },
    );
  });

  test('the .lfsconfig of the base sends nobody elsewhere', async () => {
    const { origin, fixture } = await service();
    await rm(join(fixture.basePath, '.git', 'lfs'), { recursive: true, force: true });
    await origin.commit({
      '.lfsconfig':
        '[lfs]\n\turl = http://127.0.0.1:1/elsewhere\n\tfetchexclude = *\n[remote "origin"]\n\tlfsurl = file:///nowhere\n',
    });
    await using workspace = await fixture.create();
    expect(await readFile(join(workspace.path, 'big.bin'), 'utf8')).toBe(large);
  });

  test("over HTTP each file is asked for once, of the base's own server, whatever the base says", async () => {
    const root = await temporaryDirectory();
    const source = await createLfsRepo(join(root, 'source'), { 'big.bin': large, 'small.bin': 'small\n' });
    const elsewhere = await serveLfs(root, []);
    await source.commit({
      '.lfsconfig': `[lfs]\n\turl = ${elsewhere.url}/lfs\n[remote "origin"]\n\tlfsurl = ${elsewhere.url}\n`,
    });
    const bare = join(root, 'base.git');
    await source.git('clone', '--quiet', '--bare', source.path, bare);
    await openGitRepo(bare).git('update-server-info');
    const server = await serveLfs(bare, [large, 'small\n']);
    const baseUrl = `${server.url.replace('//', '//user:secret@')}/base.git`;
    const fixture = await startedFixture({ root: join(root, 'service'), baseUrl, lfs: true, poolSize: 2 });
    await fixture.manager.sweep();
    await waitFor(fixture.manager.ready, (ready) => ready === 2, { what: 'a full pool' });
    for (let n = 0; n < 2; n += 1) {
      await using workspace = await fixture.create();
      expect(await readFile(join(workspace.path, 'big.bin'), 'utf8')).toBe(large);
      expect(await readFile(join(workspace.path, 'small.bin'), 'utf8')).toBe('small\n');
    }
    const asked = server.heard.filter((line) => /^(POST|GET \/objects)/.test(line)).map((line) => line.slice(0, 18));
    expect(asked.toSorted((one, other) => one.localeCompare(other))).toEqual([
      expect.stringMatching(/^GET .objects/),
      expect.stringMatching(/^GET .objects/),
      'POST /base.git/inf',
    ]);
    expect(new Set(asked).size).toBe(3);
    expect(elsewhere.heard).toEqual([]);
  });

  test('files of LFS inside a submodule stay pointers, and this is said', async () => {
    const { root, origin, fixture } = await service({ submodules: true });
    await createLfsRepo(join(root, 'sub'), { 's.bin': 'inside\n' });
    await origin.git('-c', 'protocol.file.allow=always', 'submodule', '--quiet', 'add', '../sub', 'sub');
    await origin.commit({});
    const { files, summary } = await changesIn(fixture, async ({ path }) => {
      expect(await readFile(join(path, 'sub/s.bin'), 'utf8')).toContain('oid sha256:');
      expect(await readFile(join(path, 'big.bin'), 'utf8')).toBe(large);
      await writeFile(join(path, 'sub/s.bin'), 'changed');
    });
    const reason = 'files of LFS inside a submodule stay pointers';
    expect(summary).toMatchObject({ truncated: true, leftOut: [{ path: 'sub', kind: 'lfs', reason }] });
    expect(files).toEqual([['sub/s.bin', 'modified', 'lfs']]);
  });

  test('all is well to an operator', async () => {
    const { fixture } = await service();
    expect(await fixture.manager.check()).toBeNull();
  });
});

describe('without git-lfs', () => {
  const pointer = `version https://git-lfs.github.com/spec/v1\noid sha256:${'1'.repeat(64)}\nsize 12345\n`;

  async function without(options: Parameters<typeof startedFixture>[0]) {
    const root = await temporaryDirectory();
    await createGitRepo(join(root, 'base'), { '.gitattributes': attributes, 'big.bin': pointer });
    const { env } = await wrapGit();
    // The wrapper knows where the real git is; nothing else is found.
    const PATH = env['PATH']?.split(':')[0] ?? '';
    return await startedFixture({ root, gitEnv: { ...env, PATH }, ...options });
  }

  test('the operator is told, and so is the job, whose pointers stay as they are', async () => {
    const fixture = await without({ lfs: true });
    expect(await fixture.manager.check()).toBe(
      'LFS is true, but git-lfs is not installed: install it where PATH finds it',
    );
    const { summary } = await changesIn(fixture, async ({ path }) => {
      expect(await readFile(join(path, 'big.bin'), 'utf8')).toBe(pointer);
    });
    const leftOut = [{ path: 'big.bin', kind: 'lfs', reason: 'git-lfs is not installed' }];
    expect(summary).toMatchObject({ ...unchanged, leftOut });
  });

  test('and with LFS switched off nobody is told anything', async () => {
    const fixture = await without({});
    expect(await fixture.manager.check()).toBeNull();
    const { summary } = await changesIn(fixture, async () => {});
    expect(summary).toMatchObject(unchanged);
    expect(summary).not.toHaveProperty('leftOut');
  });
});
