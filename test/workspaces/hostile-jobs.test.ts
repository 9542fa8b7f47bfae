import { chmod, readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import type { Workspace } from '../../src/jobs/ports.ts';
import { createGitRepo, openGitRepo } from '../helpers/git-repo.ts';
import { cleanUpAfterEach, startedFixture, temporaryDirectory } from './fixture.ts';

cleanUpAfterEach();

const jobs = 100;
const atOnce = 5;

test('a hundred jobs that overwrite every object and ref they have leave base and neighbours whole', {
  timeout: 180_000,
}, async () => {
  const root = await temporaryDirectory();
  const base = await createGitRepo(join(root, 'base'), { 'a.txt': 'a', 'd/b.txt': 'b' });
  await base.git('repack', '--quiet', '-a', '-d');
  await base.commit({ 'loose.txt': 'l' });
  const head = await base.git('rev-parse', 'HEAD');
  const fixture = await startedFixture({ root, poolSize: 3 });
  await fixture.manager.sweep();
  await using neighbour = await fixture.create();
  for (let done = 0; done < jobs; done += atOnce) {
    const hostile = await Promise.all(Array.from({ length: atOnce }, () => fixture.create()));
    for (const { path } of hostile) expect(await openGitRepo(path).git('fsck', '--full', '--strict')).toBe('');
    const overwritten = await Promise.all(hostile.map(overwriteAll));
    expect(Math.min(...overwritten)).toBeGreaterThan(5);
    for (const workspace of hostile) {
      expect(workspace.baseCommit).toBe(head);
      expect(await workspace.changes()).toMatchObject({
        baseCommit: head,
        filesChanged: 1,
        patchBytes: expect.any(Number),
      });
      await workspace.giveBack();
    }
  }
  expect(await base.git('fsck', '--full', '--strict')).toBe('');
  expect(await base.git('rev-parse', 'HEAD')).toBe(head);
  const other = openGitRepo(neighbour.path);
  expect(await other.git('fsck', '--full', '--strict')).toBe('');
  expect(await other.git('status', '--porcelain')).toBe('');
  await using later = await fixture.create();
  expect(await readFile(join(later.path, 'a.txt'), 'utf8')).toBe('a');
});

/** Everything below `.git` but the index, in place: a file that is shared with anybody else changes there too. */
async function overwriteAll({ path }: Workspace): Promise<number> {
  const gitDir = join(path, '.git');
  let files = 0;
  for (const name of await readdir(gitDir, { recursive: true })) {
    const file = join(gitDir, name);
    if (!(await stat(file)).isFile()) continue;
    await chmod(file, 0o600);
    await writeFile(file, 'overwritten', { flag: 'r+' });
    files += 1;
  }
  await writeFile(join(path, 'a.txt'), 'changed');
  return files;
}
