import { mkdir, readFile, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { createJobId } from '../../src/jobs/job-id.ts';
import type { WorkspaceMeter } from '../../src/workspaces/workspace-meter.ts';
import { describeWorkspaceManager } from '../contracts/workspace-manager.ts';
import { createGitRepo, openGitRepo } from '../helpers/git-repo.ts';
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

describeWorkspaceManager('workspaces from a pool of ready clones', async () => {
  const root = await temporaryDirectory();
  const origin = await createGitRepo(join(root, 'origin'), { 'a.txt': 'first\n' });
  const { manager, jobsDir } = await filled({ root, baseUrl: origin.path, poolSize: 3 }, 3);
  const commit = await origin.git('rev-parse', 'HEAD');
  return { manager, jobsDir, file: { name: 'a.txt', text: 'first\n' }, commit, close: () => manager.close() };
});

async function filled(options: Parameters<typeof startedFixture>[0], size: number): Promise<Fixture> {
  const fixture = await startedFixture({ ...options, poolSize: size });
  await fixture.manager.sweep();
  await full(fixture, size);
  return fixture;
}

async function full({ manager }: Fixture, size: number): Promise<void> {
  await waitFor(manager.ready, (ready) => ready === size, { what: 'a full pool' });
}

test('a ready clone is moved into place without a git process, clean, and a new one takes its place', async () => {
  const root = await temporaryDirectory();
  await createGitRepo(join(root, 'base'), { 'a.txt': 'a' });
  const { env, count } = await wrapGit();
  const fixture = await filled({ root, gitEnv: env }, 2);
  const [before] = await namesIn(join(fixture.jobsDir, '.pool'));
  expect((await stat(join(fixture.jobsDir, '.pool', before ?? ''))).mode & 0o777).toBe(0o700);
  // The one that all others are copied from.
  expect(await count('clone')).toBe(1);
  await using workspace = await fixture.create();
  expect(await openGitRepo(workspace.path).git('status', '--porcelain=v1', '--branch')).toBe('## main');
  await full(fixture, 2);
  expect(await count('clone')).toBe(1);
  expect(await count('fetch')).toBe(0);
});

test('no clone is handed out twice, and a burst larger than the pool gets clones of its own', async () => {
  const root = await temporaryDirectory();
  await createGitRepo(join(root, 'base'), { 'a.txt': 'a' });
  const fixture = await filled({ root }, 3);
  const made = await Promise.all(Array.from({ length: 12 }, () => fixture.create()));
  const inodes = await Promise.all(made.map(async ({ path }) => (await stat(path)).ino));
  expect(new Set(inodes).size).toBe(12);
  for (const { path } of made) {
    expect(await readFile(join(path, 'a.txt'), 'utf8')).toBe('a');
    await writeFile(join(path, 'a.txt'), path);
  }
  await Promise.all(made.map((workspace) => workspace[Symbol.asyncDispose]()));
  await full(fixture, 3);
});

test('a clone that became ready before the base moved is handed out at the new commit', async () => {
  const root = await temporaryDirectory();
  const origin = await createGitRepo(join(root, 'origin'), { 'a.txt': 'old', 'gone.txt': 'x' });
  const { env, count } = await wrapGit();
  const fixture = await filled({ root, baseUrl: origin.path, fetchDebounceMs: 0, gitEnv: env }, 2);
  const clones = await count('clone');
  await origin.git('rm', '--quiet', 'gone.txt');
  const commit = await origin.commit({ 'a.txt': 'new', 'more.txt': 'm' });
  const id = createJobId();
  await using workspace = await fixture.manager.create(id, never);
  expect(workspace.baseCommit).toBe(commit);
  expect(await readFile(join(workspace.path, 'a.txt'), 'utf8')).toBe('new');
  const clone = openGitRepo(workspace.path);
  expect(await clone.git('status', '--porcelain=v1', '--branch')).toBe('## main...origin/main');
  expect(await clone.git('remote', 'get-url', 'origin')).toBe(origin.path);
  await writeFile(join(workspace.path, 'a.txt'), 'changed');
  expect(await workspace.changes()).toMatchObject({ filesChanged: 1, problem: null, baseCommit: commit });
  await full(fixture, 2);
  // One was brought up for the job, the other in the background; only the one that clones are copied from is made anew.
  expect(await count('clone')).toBe(clones + 1);
  await using second = await fixture.create();
  expect(second.baseCommit).toBe(commit);
});

test('a ready clone that somebody removed costs no job: it gets another one', async () => {
  const fixture = await filled({}, 2);
  await rm(join(fixture.jobsDir, '.pool'), { recursive: true });
  await using workspace = await fixture.create();
  expect(workspace.baseCommit).not.toBeNull();
});

test('a sweep removes the ready clones of a dead process', async () => {
  const root = await temporaryDirectory();
  await mkdir(join(root, 'jobs', '.pool', 'dead'), { recursive: true });
  const fixture = await filled({ root }, 1);
  expect(await namesIn(join(fixture.jobsDir, '.pool'))).not.toContain('dead');
  expect(await namesIn(join(root, 'scratch'))).toHaveLength(1);
});

test('a pool that cannot be filled keeps no job waiting, and closing ends what it does', async () => {
  const { env, pids } = await wrapGit({
    clone: 'if [ -n "$GROUP_NICE" ]; then sleep 600 & echo $! >>"$PIDS"; wait; fi',
  });
  const fixture = await startedFixture({ gitEnv: env, poolSize: 2 });
  await fixture.manager.sweep();
  await waitFor(pids, (seen) => seen.length === 1);
  await using workspace = await fixture.create();
  expect(workspace.baseCommit).not.toBeNull();
  await fixture.manager.close();
  expect(fixture.manager.ready()).toBe(0);
});

test('a disk that is too full for more jobs gets no ready clones either, until there is room again', async () => {
  let asked = 0;
  let reason: string | null = 'The disk is full';
  const refusal = async () => {
    asked += 1;
    return reason;
  };
  const fixture = await startedFixture({ poolSize: 2, refusal });
  await fixture.manager.sweep();
  await waitFor(
    () => asked,
    (count) => count > 0,
  );
  await using workspace = await fixture.create();
  expect(workspace.baseCommit).not.toBeNull();
  await waitFor(
    () => asked,
    (count) => count > 1,
    { what: 'the pool to ask again' },
  );
  expect([fixture.manager.ready(), await namesIn(join(fixture.jobsDir, '.pool'))]).toEqual([0, []]);
  reason = null;
  await using another = await fixture.create();
  expect(another.baseCommit).not.toBeNull();
  await full(fixture, 2);
});

test('how each job came to its workspace is told with its time, and what fetches waited for each other', async () => {
  const root = await temporaryDirectory();
  const origin = await createGitRepo(join(root, 'origin'), { 'a.txt': 'old' });
  const seen: string[] = [];
  const waits: number[] = [];
  const meter: WorkspaceMeter = {
    lockWaited: (ms) => void waits.push(ms),
    removed: () => {},
    prepared: (by, ms) => void seen.push(ms > 0 ? by : 'in no time'),
  };
  const fixture = await filled({ root, baseUrl: origin.path, fetchDebounceMs: 0, meter }, 1);
  await using hit = await fixture.create();
  await full(fixture, 1);
  const commit = await origin.commit({ 'a.txt': 'new' });
  await using updated = await fixture.create();
  await using own = await fixture.manager.create(createJobId(), never, { ref: hit.baseCommit });
  expect([updated.baseCommit, own.baseCommit]).toEqual([commit, hit.baseCommit]);
  expect(seen).toEqual(['pool', 'update', 'clone']);
  expect(waits.length).toBeGreaterThan(1);
});

test('a change is told though it keeps size and times, in a clone that was ready long enough to trust its times', async () => {
  const root = await temporaryDirectory();
  await createGitRepo(join(root, 'base'), { 'a.txt': 'before', 'b.txt': 'kept' });
  const { manager } = await startedFixture({ root, poolSize: 1 });
  await manager.sweep();
  await waitFor(
    async () => manager.ready(),
    (ready) => ready === 1,
    { what: 'a ready clone' },
  );
  const readySince = Date.now();
  await waitFor(
    async () => Date.now() - readySince,
    (ms) => ms > 1_100,
    { what: 'the next second' },
  );
  const id = createJobId();
  await using workspace = await manager.create(id, never);
  const file = join(workspace.path, 'a.txt');
  const { atime, mtime } = await stat(file);
  await writeFile(file, 'after!');
  await utimes(file, atime, mtime);
  expect(await workspace.changes()).toMatchObject({ filesChanged: 1, problem: null });
  expect((await manager.changesOf(id))?.files.map(({ path }) => path)).toEqual(['a.txt']);
});
