import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeEach, describe, expect, test } from 'vitest';
import { WorkspaceError } from '../../src/jobs/errors.ts';
import { createJobId } from '../../src/jobs/job-id.ts';
import { createGitRepo, type GitRepo, openGitRepo } from '../helpers/git-repo.ts';
import { cleanUpAfterEach, type Fixture, namesIn, never, startedFixture, temporaryDirectory } from './fixture.ts';

cleanUpAfterEach();

describe.each(['a base that follows a remote', 'a base of its own'])('a job at a ref of %s', (kind) => {
  let origin: GitRepo;
  let fixture: Fixture;
  let first = '';

  beforeEach(async () => {
    const root = await temporaryDirectory();
    const remote = kind.includes('remote');
    origin = await createGitRepo(join(root, remote ? 'origin' : 'base'), { 'a.txt': 'first' });
    first = await origin.git('rev-parse', 'HEAD');
    await origin.commit({ 'a.txt': 'second' });
    fixture = await startedFixture({ root, baseUrl: remote ? origin.path : null, fetchDebounceMs: 0, poolSize: 1 });
    await origin.git('tag', '--annotate', '--message=t', 'v1.0', first);
    await origin.git('checkout', '--quiet', '-b', 'feature/x');
    await origin.commit({ 'a.txt': 'on the branch' });
    await origin.git('checkout', '--quiet', 'main');
  });

  const at = (ref: string) => fixture.manager.create(createJobId(), never, { ref });

  test('starts from a branch, and from where it is now', async () => {
    await using workspace = await at('feature/x');
    expect(await readFile(join(workspace.path, 'a.txt'), 'utf8')).toBe('on the branch');
    expect(await openGitRepo(workspace.path).git('status', '--porcelain=v1', '--branch')).toBe('## feature/x');
    expect(await workspace.changes()).toMatchObject({ filesChanged: 0, commitsMade: 0, problem: null });
    await origin.git('checkout', '--quiet', 'feature/x');
    const commit = await origin.commit({ 'a.txt': 'later' });
    await using second = await at('feature/x');
    expect(second.baseCommit).toBe(commit);
  });

  test('starts from a tag and from a commit, whole or abbreviated', async () => {
    for (const ref of ['v1.0', first, first.slice(0, 10)]) {
      await using workspace = await at(ref);
      expect(workspace.baseCommit).toBe(first);
      expect(await readFile(join(workspace.path, 'a.txt'), 'utf8')).toBe('first');
      expect(await openGitRepo(workspace.path).git('status', '--porcelain')).toBe('');
    }
  });

  test('that nobody knows fails with its name and leaves nothing', async () => {
    for (const ref of ['no/such', '0'.repeat(40), 'abcdef1', 'HEAD', 'main.lock/x']) {
      const error: unknown = await at(ref).catch((reason: unknown) => reason);
      expect(error).toBeInstanceOf(WorkspaceError);
      expect(String(error)).toContain(`"${ref}"`);
    }
    expect((await namesIn(fixture.jobsDir)).filter((name) => !name.startsWith('.'))).toEqual([]);
  });

  test('that is the branch of the base is the same as none', async () => {
    await using workspace = await at('main');
    expect(await readFile(join(workspace.path, 'a.txt'), 'utf8')).toBe('second');
  });
});
