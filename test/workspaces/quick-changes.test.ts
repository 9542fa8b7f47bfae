import {
  chmod,
  mkdir,
  readdir,
  readFile,
  rename,
  rm,
  stat,
  symlink,
  unlink,
  utimes,
  writeFile,
} from 'node:fs/promises';
import { join } from 'node:path';
import { execa } from 'execa';
import { describe, expect, test } from 'vitest';
import { createJobId } from '../../src/jobs/job-id.ts';
import { createChangeTaker } from '../../src/workspaces/change-taker.ts';
import { scannerFile } from '../../src/workspaces/tree-scanner.ts';
import { createGitRepo } from '../helpers/git-repo.ts';
import {
  cleanUpAfterEach,
  cleanUpLater,
  recordingLog,
  startedFixture,
  temporaryDirectory,
  wrapGit,
} from './fixture.ts';

cleanUpAfterEach();

const built = !(await execa(scannerFile, ['serve'], { reject: false, stdin: 'ignore' })).failed;
if (!built) console.warn('native/scantree is not built: the tests that need it are SKIPPED');

const long = Array.from({ length: 60 }, (_, n) => `line ${n}\n`).join('');
const baseFiles = {
  '.gitignore': 'ignored/\n*.log\n',
  'a.txt': 'aaaa',
  'b/same.txt': 'same\n',
  'b/c/deep.txt': 'deep\n',
  'crlf.txt': 'one\r\ntwo\r\n',
  'b.txt': 'between b and b/ in the order of the index\n',
  'gone.txt': 'gone\n',
  'moved.txt': long,
  'run.sh': '#!/bin/sh\n',
  'image.bin': 'x\0y',
  empty: '',
};

/**
 * A workspace that a job worked in, whose changes are then told twice: by the scanner first, and as where there is none.
 * `looks` is how often git had to look at the whole tree for the first answer.
 */
async function toldTwice(work: (at: (name: string) => string, path: string) => Promise<unknown>, more = {}) {
  const root = await temporaryDirectory();
  const base = await createGitRepo(join(root, 'base'), { ...baseFiles, ...more });
  const path = join(root, 'workspace');
  await base.git('clone', '--quiet', base.path, path);
  const git = await wrapGit();
  const common = { scratchDir: join(root, 'scratch'), path: git.env['PATH'] ?? '', log: recordingLog() };
  const push = async () => await Promise.reject(new Error('nothing is pushed'));
  const takerFor = (name: string, scanner = {}) => {
    const taker = createChangeTaker({ ...common, ...scanner, push, resultDir: () => join(root, name) });
    cleanUpLater(taker.close);
    return taker;
  };
  const quick = takerFor('quick');
  const id = createJobId();
  const baseCommit = await base.git('rev-parse', 'HEAD');
  const start = { baseCommit, objects: join(base.path, '.git', 'objects'), unlocked: false };
  const snapshot = await quick.note(path, start);
  await quick.assign(id, snapshot);
  await work((name) => join(path, name), path);
  const answers: object[] = [];
  const summary = await quick.take(id, path, snapshot);
  const looks = await git.count('status');
  await takerFor('slow', { scanner: '/nonexistent/scantree' }).take(id, path, snapshot);
  expect(await git.count('status')).toBe(looks + 1);
  for (const name of ['quick', 'slow']) {
    const names = await readdir(join(root, name));
    const files = await Promise.all(names.map((file) => readFile(join(root, name, file), 'latin1')));
    answers.push(Object.fromEntries(names.map((file, at) => [file, files[at]])));
  }
  expect(answers[0]).toEqual(answers[1]);
  return { summary, looks };
}

describe.runIf(built)('what a job changed is told without a look of git at the whole tree', () => {
  test.each<[string, number, (at: (name: string) => string, path: string) => Promise<unknown>]>([
    ['nothing', 0, async () => undefined],
    ['an edit', 1, (at) => writeFile(at('b/c/deep.txt'), 'changed\n')],
    ['a file that was only touched', 0, (at) => utimes(at('a.txt'), 1, 1)],
    ['a file that was written anew with the same content', 0, (at) => writeFile(at('b/same.txt'), 'same\n')],
    ['a file that is gone', 1, (at) => unlink(at('gone.txt'))],
    ['a directory that is gone', 2, (at) => rm(at('b'), { recursive: true })],
    ['a mode', 1, (at) => chmod(at('run.sh'), 0o755)],
    ['a mode that git does not keep', 0, (at) => chmod(at('run.sh'), 0o600)],
    ['binary content', 1, (at) => writeFile(at('image.bin'), 'x\0yz')],
    ['line ends', 1, (at) => writeFile(at('crlf.txt'), 'one\r\nthree\r\n')],
    ['an empty file', 1, (at) => writeFile(at('empty'), 'no longer')],
    ['new files', 2, (at) => Promise.all([writeFile(at('b/new.txt'), 'n\n'), writeFile(at('new.bin'), 'n\0')])],
    [
      'a file that was moved and edited',
      1,
      async (at) => {
        await mkdir(at('elsewhere/deep'), { recursive: true });
        await rename(at('moved.txt'), at('elsewhere/deep/to.txt'));
        await writeFile(at('elsewhere/deep/to.txt'), `${long}one more\n`);
      },
    ],
    ['a link', 1, (at) => symlink('/etc/passwd', at('b/link'))],
    [
      'a link in the place of a file',
      1,
      async (at) => {
        await unlink(at('a.txt'));
        await symlink('gone.txt', at('a.txt'));
      },
    ],
    [
      'files that are left out by patterns, old and new',
      2,
      async (at) => {
        await mkdir(at('ignored/deep'), { recursive: true });
        await writeFile(at('ignored/deep/f'), 'x');
        await writeFile(at('b/build.log'), 'x');
        await writeFile(at('b/.gitignore'), 'out.*\n');
        await writeFile(at('b/out.txt'), 'x');
        await writeFile(at('b/c/in.txt'), 'x');
      },
    ],
    ['only files that are left out by patterns', 0, (at) => writeFile(at('b/build.log'), 'x')],
    [
      'names with spaces, quotes, line ends and letters',
      3,
      async (at) => {
        await writeFile(at('two words "quoted"'), 'x');
        await writeFile(at('b/line\nend\t'), 'x');
        await writeFile(at('b/naïve'), 'x');
      },
    ],
    ['what is no file', 0, (at) => execa('mkfifo', [at('b/pipe')])],
    ['an empty directory', 0, (at) => mkdir(at('b/none'))],
    [
      'a repository made where files of the base are',
      1,
      async (at) => {
        await execa('git', ['init', '--quiet', at('b')]);
        await writeFile(at('b/new.txt'), 'x');
      },
    ],
  ])('%s', async (_, filesChanged, work) => {
    const { summary, looks } = await toldTwice(work);
    expect(summary).toMatchObject({ filesChanged, truncated: false, problem: null });
    expect(looks).toBe(0);
  });

  test('a change in the moment after the start that hides behind the old size and time', async () => {
    const { summary, looks } = await toldTwice(async (at) => {
      const { atime, mtime } = await stat(at('a.txt'));
      await writeFile(at('a.txt'), 'bbbb', { flag: 'r+' });
      await utimes(at('a.txt'), atime, mtime);
    });
    expect(summary).toMatchObject({ filesChanged: 1 });
    expect(looks).toBe(0);
  });

  test('a job that changed nothing costs no git process, one that changed files one, one that made files two', async () => {
    const root = await temporaryDirectory();
    await createGitRepo(join(root, 'base'), { ...baseFiles, '.gitattributes': '*.txt text\n' });
    const git = await wrapGit();
    const { create, manager } = await startedFixture({ root, gitEnv: git.env });
    const commands = ['status', 'update-index', 'diff-index', 'check-attr', 'diff', 'ls-files', 'log'];
    const counts = async () => await Promise.all(commands.map(git.count));
    const jobs = [await create(), await create(), await create()];
    const before = await counts();
    const costOf = async (at: number) => {
      const earlier = await counts();
      expect(await jobs[at]?.changes()).toMatchObject({ problem: null, filesChanged: at });
      return (await counts()).map((count, n) => count - (earlier[n] ?? 0));
    };
    expect(before.slice(0, 5)).toEqual([0, 0, 0, 0, 0]);
    expect(await costOf(0)).toEqual([0, 0, 0, 0, 0, 0, 0]);
    await writeFile(join(jobs[1]?.path ?? '', 'a.txt'), 'b');
    expect(await costOf(1)).toEqual([0, 0, 0, 0, 1, 0, 0]);
    await writeFile(join(jobs[2]?.path ?? '', 'new.txt'), 'b');
    await unlink(join(jobs[2]?.path ?? '', 'gone.txt'));
    expect(await costOf(2)).toEqual([0, 0, 0, 0, 1, 1, 0]);
    await manager.close();
  });
});

describe.runIf(built)('git looks for itself', () => {
  test.each<[string, (at: (name: string) => string, path: string) => Promise<unknown>]>([
    [
      'at a directory in the place of a file',
      async (at) => {
        await unlink(at('a.txt'));
        await mkdir(at('a.txt'));
        await writeFile(at('a.txt/inside'), 'x');
      },
    ],
    [
      'at a file in the place of a directory',
      async (at) => {
        await rm(at('b/c'), { recursive: true });
        await writeFile(at('b/c'), 'x');
      },
    ],
    [
      'at a link to files in the place of a directory',
      async (at) => {
        await rename(at('b/c'), at('b/d'));
        await symlink('d', at('b/c'));
      },
    ],
    [
      'at a pipe in the place of a file',
      async (at) => {
        await unlink(at('a.txt'));
        await execa('mkfifo', [at('a.txt')]);
      },
    ],
    [
      'at a repository inside',
      async (at) => {
        await execa('git', ['init', '--quiet', at('inside')]);
        await writeFile(at('inside/f'), 'x');
      },
    ],
    [
      'at attributes',
      async (at) => {
        await writeFile(at('b/.gitattributes'), '*.txt -text diff=other\n');
        await writeFile(at('b/same.txt'), 'other\r\n');
      },
    ],
    [
      'at names that git does not stage',
      async (at) => {
        await mkdir(at('b/git~1'));
        await writeFile(at('b/git~1/config'), 'x');
        await writeFile(at('b/ok'), 'x');
      },
    ],
    ['at names that are no text', (_, path) => writeFile(Buffer.from(`${path}/bad\xffname`, 'latin1'), 'x')],
    [
      'at a file that is too large',
      async (at) => {
        await writeFile(at('large'), Buffer.alloc(17 * 1024 * 1024));
        await writeFile(at('b/ok'), 'x');
      },
    ],
    [
      'at very many changes',
      async (at) => {
        await Promise.all(Array.from({ length: 600 }, (_, n) => writeFile(at(`b/new-${n}`), `${n}`)));
      },
    ],
  ])('%s', async (_, work) => {
    const { looks } = await toldTwice(work);
    expect(looks).toBe(1);
  });
});

test('without the scanner git looks at each tree', async () => {
  const root = await temporaryDirectory();
  await createGitRepo(join(root, 'base'), baseFiles);
  const { create } = await startedFixture({ root, scanner: '/nonexistent/scantree' });
  for (let n = 0; n < 4; n += 1) {
    await using workspace = await create();
    await writeFile(join(workspace.path, 'a.txt'), 'b');
    expect(await workspace.changes()).toMatchObject({ filesChanged: 1, problem: null });
  }
});
