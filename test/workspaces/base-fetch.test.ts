import { readFile, rename } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { createGitRepo, type GitRepo, openGitRepo } from '../helpers/git-repo.ts';
import { waitFor } from '../helpers/wait.ts';
import { cleanUpAfterEach, type Fixture, isAlive, startedFixture, temporaryDirectory, wrapGit } from './fixture.ts';

cleanUpAfterEach();

const debounceMs = 15_000;

/** A started manager whose base was cloned from an origin, with a `git` that counts and may misbehave. */
async function following(on: Readonly<Record<string, string>> = {}) {
  const root = await temporaryDirectory();
  const origin: GitRepo = await createGitRepo(join(root, 'origin'), { 'a.txt': 'first' });
  const wrapped = await wrapGit(on);
  const fixture: Fixture = await startedFixture({
    root,
    baseUrl: origin.path,
    fetchDebounceMs: debounceMs,
    gitEnv: wrapped.env,
  });
  return { origin, wrapped, fixture };
}

describe('the base', () => {
  test('is fetched for the first job after the start: what was pushed meanwhile is there', async () => {
    const { origin, fixture } = await following();
    const commit = await origin.commit({ 'a.txt': 'second' });
    await using workspace = await fixture.create();
    expect(workspace.baseCommit).toBe(commit);
    const readBase = () => readFile(join(fixture.basePath, 'a.txt'), 'utf8').catch(() => '');
    await waitFor(readBase, (text) => text === 'second', { what: 'the work tree of the base' });
  });

  test('follows a branch whose history was rewritten', async () => {
    const { origin, fixture } = await following();
    await using before = await fixture.create();
    await origin.git('commit', '--quiet', '--amend', '--message=rewritten');
    fixture.advance(debounceMs);
    await using after = await fixture.create();
    expect(after.baseCommit).toBe(await origin.git('rev-parse', 'HEAD'));
    expect(after.baseCommit).not.toBe(before.baseCommit);
  });

  test('brings the tags of what it fetches', async () => {
    const { origin, fixture } = await following();
    await origin.commit({ 'a.txt': 'tagged' });
    await origin.git('tag', 'v1');
    await using workspace = await fixture.create();
    expect(await readFile(join(workspace.path, '.git', 'packed-refs'), 'utf8')).toContain('refs/tags/v1');
  });

  test('is fetched once for a burst of ten jobs, and not again until the time is up', async () => {
    const { origin, wrapped, fixture } = await following();
    await Promise.all(Array.from({ length: 10 }, () => fixture.create()));
    expect(await wrapped.count('fetch')).toBe(1);
    const commit = await origin.commit({ 'a.txt': 'second' });
    fixture.advance(debounceMs - 1);
    await using early = await fixture.create();
    expect(early.baseCommit).not.toBe(commit);
    expect(await wrapped.count('fetch')).toBe(1);
    fixture.advance(1);
    await using late = await fixture.create();
    expect(late.baseCommit).toBe(commit);
    expect(await wrapped.count('fetch')).toBe(2);
  });

  test('that cannot be fetched is used as it was, with a warning, and is not fetched again at once', async () => {
    const { origin, wrapped, fixture } = await following();
    await rename(origin.path, `${origin.path}-away`);
    await using first = await fixture.create();
    await using second = await fixture.create();
    expect(second.baseCommit).toBe(first.baseCommit);
    expect(await wrapped.count('fetch')).toBe(1);
    const warnings = fixture.log.lines.filter(({ level }) => level === 'warn').map(({ message }) => message);
    expect(warnings).toEqual(['base could not be fetched, the last good one is used']);
    expect(await fixture.manager.check()).toBeNull();
    await rename(`${origin.path}-away`, origin.path);
    const commit = await origin.commit({ 'a.txt': 'second' });
    fixture.advance(debounceMs);
    await using third = await fixture.create();
    expect(third.baseCommit).toBe(commit);
  });

  test('whose fetch hangs keeps the first jobs waiting for three seconds and later ones not at all', async () => {
    const { wrapped, fixture } = await following({ fetch: 'sleep 600 & echo $! >>"$PIDS"; wait' });
    const took = async () => {
      const start = performance.now();
      await using workspace = await fixture.create();
      expect(workspace.baseCommit).not.toBeNull();
      return performance.now() - start;
    };
    const first = await Promise.all([took(), took(), took()]);
    for (const ms of first) expect(ms).toBeGreaterThan(2_900);
    expect(Math.max(...first)).toBeLessThan(9_000);
    fixture.advance(10 * debounceMs);
    expect(await took()).toBeLessThan(2_500);
    expect(await wrapped.count('fetch')).toBe(1);
    const [pid = 0] = await wrapped.pids();
    expect(isAlive(pid)).toBe(true);
    await fixture.manager.close();
    await waitFor(
      () => isAlive(pid),
      (alive) => !alive,
      { what: 'the end of the hung fetch and its children' },
    );
  });

  test('is cloned again when a clone failed while a fetch was under way', async () => {
    const { wrapped, fixture } = await following({
      fetch: 'sleep 600 & echo $! >>"$PIDS"; wait',
      clone: 'if [ -e "$PIDS" ] && mkdir "$PIDS.once"; then echo "fatal: failed to copy file" >&2; exit 128; fi',
    });
    const before = await wrapped.count('clone');
    await using workspace = await fixture.create();
    expect(workspace.baseCommit).not.toBeNull();
    expect((await wrapped.count('clone')) - before).toBe(2);
  });

  test('whose remote waits for a password is not waited for', async () => {
    const { fixture } = await following({ fetch: 'test "$GIT_TERMINAL_PROMPT" = 0 && exit 1' });
    await using workspace = await fixture.create();
    expect(workspace.baseCommit).not.toBeNull();
    expect(fixture.log.lines.filter(({ level }) => level === 'warn')).toHaveLength(1);
  });

  test('keeps to its branch when the operator left it on another one', async () => {
    const { origin, fixture } = await following();
    await origin.commit({ 'a.txt': 'second' });
    await using first = await fixture.create();
    await waitFor(
      () => readFile(join(fixture.basePath, 'a.txt'), 'utf8').catch(() => ''),
      (text) => text === 'second',
    );
    const base = openGitRepo(fixture.basePath);
    await base.git('checkout', '--quiet', '-b', 'elsewhere');
    await base.commit({ 'a.txt': 'local' });
    const commit = await origin.commit({ 'a.txt': 'third' });
    fixture.advance(debounceMs);
    await using later = await fixture.create();
    expect([first.baseCommit, later.baseCommit]).toContain(commit);
    expect(await readFile(join(later.path, 'a.txt'), 'utf8')).toBe('third');
  });
});
