import { chmod, lstat, mkdir, readFile, stat, symlink, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { execa } from 'execa';
import { describe, expect, test } from 'vitest';
import { createJobId } from '../../src/jobs/job-id.ts';
import { copierFile } from '../../src/workspaces/tree-copier.ts';
import { describeWorkspaceManager } from '../contracts/workspace-manager.ts';
import { createGitRepo, openGitRepo } from '../helpers/git-repo.ts';
import { waitFor } from '../helpers/wait.ts';
import {
  cleanUpAfterEach,
  type Fixture,
  isAlive,
  namesIn,
  startedFixture,
  temporaryDirectory,
  wrapGit,
} from './fixture.ts';

cleanUpAfterEach();

const built = !(await execa(copierFile, ['prepare', import.meta.dirname], { reject: false })).failed;
if (!built) console.warn('native/copytree is not built: the tests that need it are SKIPPED');

/** So many that bringing a copy up to date is quicker than a clone. */
const manyFiles = Object.fromEntries(Array.from({ length: 1_200 }, (_, n) => [`d${n % 30}/file${n}`, `${n}\n`]));

/** With a clone to copy from, and no pool that would hide it. */
async function frozenFixture(options: Parameters<typeof startedFixture>[0] = {}): Promise<Fixture> {
  const fixture = await startedFixture(options);
  await fixture.manager.sweep();
  // Whoever makes a workspace sees to it that the next one can be copied.
  await (await fixture.create())[Symbol.asyncDispose]();
  await frozenAt(fixture, 1);
  return fixture;
}

/** Waits until so many were made, and the older ones are gone. */
async function frozenAt({ jobsDir, log }: Fixture, count: number): Promise<string> {
  const directory = join(jobsDir, '.frozen');
  await waitFor(
    async () => ({
      made: log.lines.filter(({ message }) => message === 'a clone is there to be copied').length,
      names: await namesIn(directory),
    }),
    ({ made, names }) => made === count && names.length === 1,
    { timeoutMs: 60_000, what: 'a frozen clone' },
  );
  return join(directory, (await namesIn(directory))[0] ?? '');
}

/** A workspace that was made without `git clone`. */
async function copied(fixture: Fixture, count: (command: string) => Promise<number>) {
  const before = await count('clone');
  const workspace = await fixture.create();
  expect(await count('clone')).toBe(before);
  return workspace;
}

describe.runIf(built)('a copy of the frozen clone', () => {
  describeWorkspaceManager('as a workspace', async () => {
    const root = await temporaryDirectory();
    const origin = await createGitRepo(join(root, 'origin'), { 'a.txt': 'first\n' });
    const { manager, jobsDir } = await frozenFixture({ root, baseUrl: origin.path });
    const commit = await origin.git('rev-parse', 'HEAD');
    return { manager, jobsDir, file: { name: 'a.txt', text: 'first\n' }, commit, close: () => manager.close() };
  });

  test('is what git would have made, whatever its files are called and are, and git reads none of them again', async () => {
    const root = await temporaryDirectory();
    const base = await createGitRepo(join(root, 'base'), {
      'run.sh': 'x',
      empty: '',
      'new\nline/tab\t"quote"': 'odd',
      'd/ü/é': 'text',
      'large.bin': 'x'.repeat(3_000_000),
      [`${'long'.repeat(60)}/${'name'.repeat(60)}`]: 'long',
    });
    await chmod(join(base.path, 'run.sh'), 0o755);
    await symlink('no where', join(base.path, 'link'));
    await writeFile(Buffer.from(`${base.path}/bad\xffname`, 'latin1'), 'bytes');
    await base.commit({});
    const { env, count } = await wrapGit();
    const fixture = await frozenFixture({ root, gitEnv: env });
    await using workspace = await copied(fixture, count);
    const clone = openGitRepo(workspace.path);
    const index = await readFile(join(workspace.path, '.git', 'index'));
    expect(await clone.git('status', '--porcelain=v1', '--branch')).toBe('## main');
    // It writes what it had to find out anew.
    expect((await readFile(join(workspace.path, '.git', 'index'))).equals(index)).toBe(true);
    expect(await clone.git('fsck', '--full', '--strict')).toBe('');
    expect((await stat(join(workspace.path, 'run.sh'))).mode & 0o777).toBe(0o755);
    expect((await lstat(join(workspace.path, 'link'))).isSymbolicLink()).toBe(true);
    expect((await stat(workspace.path)).mode & 0o777).toBe(0o700);
    const plain = openGitRepo(join(root, 'plain'));
    await base.git('clone', '--quiet', '--local', base.path, plain.path);
    expect(await clone.git('ls-files', '--stage')).toBe(await plain.git('ls-files', '--stage'));
    // Content and mode of each file, by a git that knows nothing of the copy's index.
    await plain.git('--work-tree', workspace.path, 'diff', '--exit-code', '--quiet');
    expect(await workspace.changes()).toMatchObject({ filesChanged: 0, problem: null });
  });

  test('shares no file with it: what is written there is seen nowhere else', async () => {
    const { env, count } = await wrapGit();
    const root = await temporaryDirectory();
    await createGitRepo(join(root, 'base'), { 'a.txt': 'a' });
    const fixture = await frozenFixture({ root, gitEnv: env });
    await using workspace = await copied(fixture, count);
    const { stdout } = await execa('find', [workspace.path, '-type', 'f', '-links', '+1']);
    expect(stdout).toBe('');
    await writeFile(join(workspace.path, 'a.txt'), 'b');
    await using other = await copied(fixture, count);
    expect(await readFile(join(other.path, 'a.txt'), 'utf8')).toBe('a');
  });

  test('tells a change that hides behind the old size and time', async () => {
    const { env, count } = await wrapGit();
    const root = await temporaryDirectory();
    await createGitRepo(join(root, 'base'), { 'a.txt': 'aaaa' });
    const fixture = await frozenFixture({ root, gitEnv: env });
    await using workspace = await copied(fixture, count);
    const file = join(workspace.path, 'a.txt');
    const { atime, mtime, ctimeMs } = await stat(file);
    // Git compares whole seconds of the time that nobody can set.
    await waitFor(Date.now, (now) => now - ctimeMs > 1_100, { what: 'another second' });
    await writeFile(file, 'bbbb', { flag: 'r+' });
    await utimes(file, atime, mtime);
    expect(await workspace.changes()).toMatchObject({ filesChanged: 1, problem: null });
  });

  test('follows the base: brought up where the tree is large, and the frozen one with it', {
    timeout: 120_000,
  }, async () => {
    const root = await temporaryDirectory();
    const origin = await createGitRepo(join(root, 'origin'), { ...manyFiles, 'a.txt': 'old' });
    const { env, count } = await wrapGit();
    const fixture = await frozenFixture({ root, baseUrl: origin.path, fetchDebounceMs: 0, gitEnv: env });
    await (await copied(fixture, count))[Symbol.asyncDispose]();
    const clones = await count('clone');
    const commit = await origin.commit({ 'a.txt': 'new' });
    await using workspace = await fixture.create();
    expect(workspace.baseCommit).toBe(commit);
    expect(await readFile(join(workspace.path, 'a.txt'), 'utf8')).toBe('new');
    expect(await openGitRepo(workspace.path).git('status', '--porcelain=v1', '--branch')).toBe('## main...origin/main');
    await writeFile(join(workspace.path, 'a.txt'), 'changed');
    expect(await workspace.changes()).toMatchObject({ filesChanged: 1, baseCommit: commit, problem: null });
    await using second = await fixture.create();
    expect(second.baseCommit).toBe(commit);
    expect(await count('clone')).toBe(clones);
    await frozenAt(fixture, 2);
  });

  test('is not made of one that somebody has changed: git makes the workspace, and another is frozen', async () => {
    const root = await temporaryDirectory();
    await createGitRepo(join(root, 'base'), { 'a.txt': 'aaaa' });
    const { env, count } = await wrapGit();
    const fixture = await frozenFixture({ root, gitEnv: env });
    await (await copied(fixture, count))[Symbol.asyncDispose]();
    const frozen = await frozenAt(fixture, 1);
    const { atime, mtime } = await stat(join(frozen, 'a.txt'));
    await writeFile(join(frozen, 'a.txt'), 'bbbb');
    await utimes(join(frozen, 'a.txt'), atime, mtime);
    await using workspace = await fixture.create();
    expect(await readFile(join(workspace.path, 'a.txt'), 'utf8')).toBe('aaaa');
    expect(fixture.log.lines.map(({ message }) => message)).toContain('clone could not be copied, git makes it');
    await (await fixture.create())[Symbol.asyncDispose]();
    await frozenAt(fixture, 2);
    await using later = await copied(fixture, count);
    expect(await readFile(join(later.path, 'a.txt'), 'utf8')).toBe('aaaa');
  });

  test('goes with the process that made it: the next one removes it', async () => {
    const root = await temporaryDirectory();
    await mkdir(join(root, 'jobs', '.frozen', 'dead'), { recursive: true });
    const fixture = await frozenFixture({ root });
    expect(await namesIn(join(fixture.jobsDir, '.frozen'))).not.toContain('dead');
  });
});

/** A copier that does only what the script says when it is asked for a copy. */
async function copierThat(script: string): Promise<string> {
  const file = join(await temporaryDirectory(), 'copytree.mjs');
  const prepare = `if (process.argv[2] === 'prepare') console.log('copytree 2 copy packed')`;
  await writeFile(file, `#!${process.execPath}\n${prepare}; else process.stdin.on('data', () => { ${script} });\n`);
  await chmod(file, 0o755);
  return file;
}

test('without the copier git makes each clone, and the log says why', async () => {
  const fixture = await startedFixture({ copier: '/nonexistent/copytree' });
  await fixture.manager.sweep();
  expect(fixture.manager.method()).toBe('git');
  await using workspace = await fixture.create();
  expect(workspace.baseCommit).not.toBeNull();
  expect(await namesIn(join(fixture.jobsDir, '.frozen'))).toEqual([]);
  expect(fixture.log.lines).toContainEqual({
    level: 'warn',
    message: 'each clone is made by git',
    fields: { reason: expect.stringContaining('native/build.sh') },
  });
});

test.each([
  ['ends', 'process.exit(1)'],
  ['fails', 'console.log("error no space")'],
])('a copier that %s costs no job, and is given up for ten minutes', async (_, script) => {
  const root = await temporaryDirectory();
  await createGitRepo(join(root, 'base'), { 'a.txt': 'a' });
  const fixture = await startedFixture({ root, copier: await copierThat(script) });
  await fixture.manager.sweep();
  expect(fixture.manager.method()).toBe('copy');
  await waitFor(
    async () => {
      await using workspace = await fixture.create();
      expect(await readFile(join(workspace.path, 'a.txt'), 'utf8')).toBe('a');
      return fixture.manager.method();
    },
    (method) => method === 'git',
    { what: 'giving up' },
  );
  fixture.advance(600_000);
  expect(fixture.manager.method()).toBe('copy');
});

test('a job that is cancelled while its clone is copied ends the copier and leaves nothing', async () => {
  const root = await temporaryDirectory();
  await createGitRepo(join(root, 'base'), { 'a.txt': 'a' });
  const script = `import('node:fs').then((fs) => fs.writeFileSync(${JSON.stringify(join(root, 'began'))}, String(process.pid), { flush: true }))`;
  const fixture = await frozenFixture({ root, copier: await copierThat(script) });
  const aborting = new AbortController();
  const id = createJobId();
  const making = fixture.manager.create(id, aborting.signal);
  const pid = await waitFor(
    async () => Number(await readFile(join(root, 'began'), 'utf8').catch(() => '')),
    (found) => found > 0,
    { what: 'a copy under way' },
  );
  aborting.abort(new Error('cancelled'));
  await expect(making).rejects.toThrow('cancelled');
  expect(isAlive(pid)).toBe(false);
  expect(await namesIn(fixture.jobsDir)).not.toContain(id);
});
