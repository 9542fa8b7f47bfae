import { chmod, mkdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { WorkspaceError } from '../../src/jobs/errors.ts';
import { createJobId } from '../../src/jobs/job-id.ts';
import { describeWorkspaceManager } from '../contracts/workspace-manager.ts';
import { createGitRepo, openGitRepo } from '../helpers/git-repo.ts';
import { waitFor } from '../helpers/wait.ts';
import {
  cleanUpAfterEach,
  createFixture,
  isAlive,
  namesIn,
  never,
  startedFixture,
  temporaryDirectory,
  trashEmpty,
  wrapGit,
} from './fixture.ts';

cleanUpAfterEach();

describeWorkspaceManager('workspaces as git clones', async () => {
  const root = await temporaryDirectory();
  const origin = await createGitRepo(join(root, 'origin'), { 'a.txt': 'first\n' });
  const { manager, jobsDir } = await startedFixture({ root, baseUrl: origin.path });
  const commit = await origin.git('rev-parse', 'HEAD');
  return { manager, jobsDir, file: { name: 'a.txt', text: 'first\n' }, commit, close: () => manager.close() };
});

describe('a clone', () => {
  test('has the remote of the base as its origin, is clean and on the branch of the base', async () => {
    const root = await temporaryDirectory();
    const origin = await createGitRepo(join(root, 'origin'), { 'a.txt': 'a' }, 'develop');
    const fixture = await startedFixture({ root, baseUrl: origin.path });
    await using workspace = await fixture.create();
    const clone = openGitRepo(workspace.path);
    expect(await clone.git('remote', 'get-url', 'origin')).toBe(origin.path);
    expect(await clone.git('status', '--porcelain=v1', '--branch')).toBe('## develop...origin/develop');
    expect(await clone.git('rev-parse', 'HEAD')).toBe(workspace.baseCommit);
    await clone.commit({ 'b.txt': 'b' });
    await clone.git('push', '--quiet', 'origin', 'develop:from-job');
    expect(await origin.git('rev-parse', 'from-job')).toBe(await clone.git('rev-parse', 'HEAD'));
  });

  test('keeps a remote with characters that configuration files treat as special', async () => {
    const root = await temporaryDirectory();
    const base = await createGitRepo(join(root, 'base'), { 'a.txt': 'a' });
    const url = `https://user:p"a\\s;s#w$&ord@example.invalid/repo.git`;
    await base.git('remote', 'add', 'origin', url);
    const { env } = await wrapGit({ fetch: 'exit 1', 'ls-remote': 'case "$*" in *symref*) exit 1;; esac' });
    const fixture = await startedFixture({ root, gitEnv: env });
    await using workspace = await fixture.create();
    expect(await openGitRepo(workspace.path).git('config', 'remote.origin.url')).toBe(url);
  });

  test('has no remote when the base has none: a job cannot push into the base', async () => {
    const root = await temporaryDirectory();
    await createGitRepo(join(root, 'base'), { 'a.txt': 'a' });
    const fixture = await startedFixture({ root });
    await using workspace = await fixture.create();
    expect(await openGitRepo(workspace.path).git('remote')).toBe('');
    expect(await readFile(join(workspace.path, '.git', 'config'), 'utf8')).not.toContain(fixture.root);
  });

  test('shares no file with the base, brings no hooks and is for its owner alone', async () => {
    const root = await temporaryDirectory();
    const base = await createGitRepo(join(root, 'base'), { 'a.txt': 'a' });
    await mkdir(join(base.path, '.git', 'hooks'), { recursive: true });
    await writeFile(join(base.path, '.git', 'hooks', 'post-checkout'), `#!/bin/sh\ntouch '${root}/hook-ran'\n`);
    await chmod(join(base.path, '.git', 'hooks', 'post-checkout'), 0o755);
    const fixture = await startedFixture({ root });
    await using workspace = await fixture.create();
    const blob = await base.git('rev-parse', 'HEAD:a.txt');
    const object = join('.git', 'objects', blob.slice(0, 2), blob.slice(2));
    expect((await stat(join(workspace.path, object))).ino).not.toBe((await stat(join(base.path, object))).ino);
    expect((await stat(join(base.path, object))).nlink).toBe(1);
    expect(await namesIn(join(workspace.path, '.git', 'objects', 'info'))).not.toContain('alternates');
    expect(await namesIn(join(workspace.path, '.git', 'hooks'))).toEqual([]);
    expect(await namesIn(root)).not.toContain('hook-ran');
    expect((await stat(workspace.path)).mode & 0o777).toBe(0o700);
  });

  test('of a base that lacks objects fails and leaves nothing', async () => {
    const root = await temporaryDirectory();
    const base = await createGitRepo(join(root, 'base'), { 'a.txt': 'a', 'b.txt': 'b' });
    const blob = await base.git('rev-parse', 'HEAD:b.txt');
    await rm(join(base.path, '.git', 'objects', blob.slice(0, 2), blob.slice(2)), { force: true });
    const fixture = await startedFixture({ root });
    const error = await fixture.create().catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(WorkspaceError);
    expect(String(error)).not.toContain(root);
    expect(await namesIn(fixture.jobsDir)).toEqual(['.trash']);
    await trashEmpty(fixture.jobsDir);
  });

  test('that is aborted while git runs ends git and all it started, and leaves nothing', async () => {
    const { env, count, pids } = await wrapGit({ clone: 'sleep 600 & echo $! >>"$PIDS"; wait' });
    const fixture = await startedFixture({ gitEnv: env });
    const controller = new AbortController();
    const creating = fixture.create(controller.signal);
    const [pid = 0] = await waitFor(pids, (seen) => seen.length === 1);
    expect(await count('clone')).toBe(1);
    controller.abort('cancelled');
    await expect(creating).rejects.toBe('cancelled');
    expect(await namesIn(fixture.jobsDir)).toEqual(['.trash']);
    await waitFor(
      () => isAlive(pid),
      (alive) => !alive,
      { what: 'the end of the child of git' },
    );
    await trashEmpty(fixture.jobsDir);
  });

  test('that hangs holds up no other: there is a place for the next one', async () => {
    const { env, pids } = await wrapGit({
      clone: 'if mkdir "$PIDS.first"; then sleep 600 & echo $! >>"$PIDS"; wait; fi',
    });
    const fixture = await startedFixture({ gitEnv: env });
    const controller = new AbortController();
    const hanging = fixture.create(controller.signal);
    await waitFor(pids, (seen) => seen.length === 1);
    await using workspace = await fixture.create();
    expect(workspace.baseCommit).toMatch(/^[0-9a-f]{40}$/);
    controller.abort('cancelled');
    await expect(hanging).rejects.toBe('cancelled');
  });

  test('takes one git process', async () => {
    const { env, count } = await wrapGit();
    const fixture = await startedFixture({ gitEnv: env });
    const counted = ['clone', 'config', 'rev-parse', 'rev-list', 'remote', 'checkout', 'fetch', 'symbolic-ref'];
    const before = await Promise.all(counted.map(count));
    await using workspace = await fixture.create();
    expect(workspace.baseCommit).not.toBeNull();
    const after = await Promise.all(counted.map(count));
    expect(after.map((times, index) => times - (before[index] ?? 0))).toEqual([1, 0, 0, 0, 0, 0, 0, 0]);
  });
});

describe('the check', () => {
  test('names a jobs directory that is not there', async () => {
    const fixture = await startedFixture();
    expect(await fixture.manager.check()).toBeNull();
    await rm(fixture.jobsDir, { recursive: true });
    expect(await fixture.manager.check()).toContain('JOBS_DIR');
    await expect(fixture.create()).rejects.toThrow(WorkspaceError);
  });

  test('names git where there is none', async () => {
    const fixture = await startedFixture({ gitEnv: { PATH: await temporaryDirectory() } });
    expect(await fixture.manager.check()).toContain('git is not installed');
    await expect(fixture.create()).rejects.toThrow('git is not installed');
  });

  test('says so before the start, and the first job opens the base by itself', async () => {
    const fixture = await createFixture();
    await mkdir(fixture.jobsDir);
    expect(await fixture.manager.check()).toContain('not ready');
    await using workspace = await fixture.create();
    expect(workspace.baseCommit).not.toBeNull();
    expect(await fixture.manager.check()).toBeNull();
  });
});

test('a sweep empties the trash of a dead process', async () => {
  const fixture = await createFixture();
  await mkdir(join(fixture.jobsDir, '.trash', 'left', 'deep'), { recursive: true });
  await fixture.manager.sweep();
  await trashEmpty(fixture.jobsDir);
  expect(await namesIn(fixture.jobsDir)).toEqual(['.frozen', '.trash']);
});

test('a sweep keeps what known jobs of a dead process changed, and nothing of places that no job came to', async () => {
  const root = await temporaryDirectory();
  await createGitRepo(join(root, 'base'), { 'a.txt': 'a' });
  const fixture = await startedFixture({ root });
  const [known, unknown] = [createJobId(), createJobId()];
  for (const id of [known, unknown]) await fixture.manager.create(id, never);
  const later = await createFixture({ root });
  await later.manager.sweep(async (id) => id === known);
  expect((await namesIn(fixture.jobsDir)).filter((name) => name.startsWith('job_'))).toEqual([]);
  expect(await later.manager.changesOf(known)).toMatchObject({ filesChanged: 0 });
  expect(await namesIn(join(root, 'runs'))).toEqual([known]);
});

test('a workspace can be made again under its name as soon as it is disposed of', async () => {
  const root = await temporaryDirectory();
  await createGitRepo(join(root, 'base'), { 'a.txt': 'a' });
  const fixture = await startedFixture({ root, poolSize: 2 });
  await fixture.manager.sweep();
  const id = createJobId();
  for (let round = 1; round <= 5; round += 1) {
    const workspace = await fixture.manager.create(id, never);
    await writeFile(join(workspace.path, 'made.txt'), String(round));
    expect(await workspace.changes()).toMatchObject({ filesChanged: 1, problem: null });
    await workspace[Symbol.asyncDispose]();
  }
});

test('the commit that a clone would start from is told, with a look at the remote and without one', async () => {
  const root = await temporaryDirectory();
  const origin = await createGitRepo(join(root, 'origin'), { 'a.txt': '0' });
  const fixture = await startedFixture({ root, baseUrl: origin.path, fetchDebounceMs: 0 });
  const { heads } = fixture.manager;
  const first = (await origin.git('rev-parse', 'HEAD')).trim();
  expect(await heads.latest(never)).toBe(first);
  const second = await origin.commit({ 'a.txt': '1' });
  expect(await heads.known(never)).toBe(first);
  expect(await heads.latest(never)).toBe(second.trim());
  expect(await heads.known(never)).toBe(second.trim());
});

test('clones made while the base moves are each one of the pushed commits and whole', {
  timeout: 120_000,
}, async () => {
  const root = await temporaryDirectory();
  const origin = await createGitRepo(join(root, 'origin'), { 'a.txt': '0' });
  const fixture = await startedFixture({ root, baseUrl: origin.path, fetchDebounceMs: 0 });
  const pushed = new Set([await origin.git('rev-parse', 'HEAD')]);
  const stop = new AbortController();
  const pushing = (async () => {
    for (let round = 1; !stop.signal.aborted; round += 1) {
      const files = Array.from({ length: 20 }, (_, n) => [`d${n}/f${round % 7}.txt`, `${round} ${n}`] as const);
      await origin.commit({ ...Object.fromEntries(files), 'a.txt': String(round) });
      pushed.add(await origin.git('rev-parse', 'HEAD'));
      await delay(1); // Lets the clones have the processor too; nothing is waited for.
    }
  })();
  const seen = new Set<string | null>();
  for (let burst = 0; burst < 10; burst += 1) {
    const made = await Promise.all(Array.from({ length: 6 }, () => fixture.create(never)));
    for (const workspace of made) {
      seen.add(workspace.baseCommit);
      const clone = openGitRepo(workspace.path);
      expect(await clone.git('fsck', '--no-dangling')).toBe('');
      expect(await clone.git('status', '--porcelain')).toBe('');
      await workspace[Symbol.asyncDispose]();
    }
  }
  stop.abort();
  await pushing;
  for (const commit of seen) expect(pushed).toContain(commit);
  expect(seen.size, 'the base never moved: the race was not run').toBeGreaterThan(3);
});
