import { createHash } from 'node:crypto';
import { lstat, readFile, readlink } from 'node:fs/promises';
import { join } from 'node:path';
import { execa } from 'execa';
import { expect } from 'vitest';
import type { Workspace } from '../../src/jobs/ports.ts';
import { type GitRepo, openGitRepo } from '../helpers/git-repo.ts';
import { namesIn } from './fixture.ts';

/** Everything that can be told from a clone, but the times and numbers that each has of its own. */
async function describeTree(root: string): Promise<readonly string[]> {
  const { stdout } = await execa('find', ['.', '-print0'], { cwd: root, encoding: 'latin1' });
  const lines = stdout
    .split('\0')
    .filter(Boolean)
    .map(async (name) => {
      const file = Buffer.from(join(root, name), 'latin1');
      const { mode, nlink, uid, gid } = await lstat(file);
      const isFile = (mode & 0o170000) === 0o100000;
      const content = isFile
        ? createHash('sha1')
            .update(await readFile(file))
            .digest('hex')
        : '';
      const target = (mode & 0o170000) === 0o120000 ? await readlink(file) : '';
      return `${name} ${mode.toString(8)} ${uid}:${gid} ${isFile ? `links ${nlink}` : ''} ${name === './.git/index' ? '' : content}${target}`;
    });
  return (await Promise.all(lines)).toSorted();
}

/** Marks and access lists, and flags where the file system has them. */
async function marksOf(root: string): Promise<string> {
  const script =
    'import os, sys\nfor d, ds, fs in os.walk(sys.argv[1]):\n  for n in ds + fs:\n    p = os.path.join(d, n)\n    l = [x for x in os.listxattr(p, follow_symlinks=False) if not x.startswith("security.")]\n    if l: print(p, l)';
  const { stdout } = await execa('python3', ['-c', script, root]);
  const { stdout: flags } = await execa('sh', ['-c', 'lsattr -R -a "$0"', root], { reject: false });
  // But for those that speak of the layout, and for what is above it.
  const marked = flags
    .split('\n')
    .filter((line) => /^[-a-zA-Z]*[^-eIEN\s][-a-zA-Z]* /.test(line) && !line.endsWith('/..'));
  return `${stdout}${marked.join('\n')}`;
}

export interface Surroundings {
  readonly origin: GitRepo;
  /** With a frozen clone in `jobs/.frozen`. */
  readonly root: string;
  /** Where nothing may be started by a clone's settings. */
  readonly outside: string;
}

/** A clone that nobody has ever worked in. One that was brought to the commit by a fetch has another store. */
export async function expectFresh(
  workspace: Workspace,
  { origin, outside, root }: Surroundings,
  { isFetched } = { isFetched: false },
): Promise<void> {
  const head = await origin.git('rev-parse', 'HEAD');
  expect(workspace.baseCommit).toBe(head);
  // First as it is: git may write.
  const tree = await describeTree(workspace.path);
  const repo = openGitRepo(workspace.path);
  expect(await repo.git('status', '--porcelain=v1', '--ignored', '--branch')).toBe('## main...origin/main');
  expect(await repo.git('fsck', '--full', '--strict', '--unreachable')).toBe('');
  expect(await repo.git('rev-parse', 'HEAD')).toBe(head);
  expect(await repo.git('for-each-ref', '--format=%(refname)')).toBe(
    'refs/heads/main\nrefs/remotes/origin/HEAD\nrefs/remotes/origin/main',
  );
  // By a git that knows nothing of this clone's index: content and mode of each file.
  await origin.git('--work-tree', workspace.path, 'diff', '--exit-code', 'HEAD');
  expect(await marksOf(workspace.path)).toBe('');
  const [frozen = ''] = await namesIn(join(root, 'jobs/.frozen'));
  const compared = (line: string) => !(isFetched && line.startsWith('./.git/'));
  expect(tree.filter(compared)).toEqual((await describeTree(join(root, 'jobs/.frozen', frozen))).filter(compared));
  expect(await namesIn(outside)).not.toContain('fired');
  expect(await workspace.changes()).toMatchObject({ filesChanged: 0, commitsMade: 0, problem: null });
}
