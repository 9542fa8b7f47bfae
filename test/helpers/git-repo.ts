import { mkdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { execa } from 'execa';

/** What git needs and no more: the person running the tests may have hooks, signing keys or templates set up. */
export const gitEnv: Readonly<Record<string, string>> = {
  PATH: process.env['PATH'] ?? '/usr/bin:/bin',
  HOME: '/nonexistent',
};

/** The same for every commit: who makes the same commits gets the same ids. */
const identity = {
  GIT_CONFIG_GLOBAL: '/dev/null',
  GIT_CONFIG_NOSYSTEM: '1',
  GIT_AUTHOR_NAME: 'Test',
  GIT_AUTHOR_EMAIL: 'test@example.com',
  GIT_AUTHOR_DATE: '2024-01-01T00:00:00Z',
  GIT_COMMITTER_NAME: 'Test',
  GIT_COMMITTER_EMAIL: 'test@example.com',
  GIT_COMMITTER_DATE: '2024-01-01T00:00:00Z',
  LC_ALL: 'C',
};

/** A path in the repository and what the file holds. */
export type Files = Readonly<Record<string, string>>;

export interface GitRepo {
  readonly path: string;
  /** Runs real git in the repository and answers its standard output. */
  git(...args: readonly string[]): Promise<string>;
  /** Writes the files, commits everything and answers the commit's id. */
  commit(files: Files): Promise<string>;
}

/** Makes a repository with a work tree and one commit. The same arguments make the same commit. */
export async function createGitRepo(path: string, files: Files, branch = 'main'): Promise<GitRepo> {
  await mkdir(path, { recursive: true });
  const repo = openGitRepo(path);
  await repo.git('init', '--quiet', '--template=', `--initial-branch=${branch}`);
  await repo.commit(files);
  return repo;
}

/** A repository that is already there. */
export function openGitRepo(path: string): GitRepo {
  const git = async (...args: readonly string[]): Promise<string> => {
    const env = { ...gitEnv, ...identity };
    const { stdout } = await execa('git', ['-c', 'gc.auto=0', ...args], { cwd: path, env, extendEnv: false });
    return stdout;
  };
  return {
    path,
    git,
    async commit(files) {
      for (const [name, text] of Object.entries(files)) {
        await mkdir(dirname(join(path, name)), { recursive: true });
        await writeFile(join(path, name), text);
      }
      await git('add', '--all');
      await git(
        'commit',
        '--quiet',
        '--allow-empty',
        `--message=${Object.keys(files).join(' ') || 'nothing'}`.slice(0, 80),
      );
      return await git('rev-parse', 'HEAD');
    },
  };
}
