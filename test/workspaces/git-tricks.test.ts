import { mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { execa } from 'execa';
import { expect, test } from 'vitest';
import { createJobId } from '../../src/jobs/job-id.ts';
import { createGitRepo, gitEnv, openGitRepo } from '../helpers/git-repo.ts';
import { cleanUpAfterEach, namesIn, never, startedFixture, temporaryDirectory } from './fixture.ts';

cleanUpAfterEach();

interface Trick {
  readonly name: string;
  readonly config: (program: string) => string;
  /** What runs the program if it is run with the job's own `.git`; null where that takes more than is at hand. */
  readonly firesOn: readonly string[] | null;
}

const origin = (lines: string) => `[remote "origin"]\n${lines}\nfetch = +refs/heads/*:refs/remotes/origin/*\n`;

/** Settings of git that name a program to run. */
const tricks: readonly Trick[] = [
  { name: 'core.fsmonitor', config: (run) => `[core]\nfsmonitor = ${run}\n`, firesOn: ['status'] },
  { name: 'core.hooksPath', config: () => `[core]\nhooksPath = .git/evil-hooks\n`, firesOn: ['add', 'a.txt'] },
  {
    name: 'filter',
    config: (run) => `[filter "evil"]\nclean = ${run}\nsmudge = ${run}\n`,
    firesOn: ['status'],
  },
  { name: 'include.path', config: (run) => `[include]\npath = ${run}.conf\n`, firesOn: ['status'] },
  { name: 'diff.external', config: (run) => `[diff]\nexternal = ${run}\n`, firesOn: ['diff'] },
  { name: 'textconv', config: (run) => `[diff "evil"]\ntextconv = ${run}\n`, firesOn: ['diff'] },
  {
    name: 'core.sshCommand',
    config: (run) => `[core]\nsshCommand = ${run}\n${origin('url = ssh://x/y')}`,
    firesOn: ['fetch', 'origin'],
  },
  {
    name: 'remote.uploadpack',
    config: (run) => origin(`uploadpack = ${run}\nurl = /x\npromisor = true\npartialclonefilter = blob:none`),
    firesOn: ['fetch', 'origin'],
  },
  {
    name: 'ext::',
    config: (run) => `[protocol "ext"]\nallow = always\n${origin(`url = ext::${run}\npromisor = true`)}`,
    firesOn: ['fetch', 'origin'],
  },
  {
    name: 'gpg.program',
    config: (run) => `[gpg]\nprogram = ${run}\n[log]\nshowSignature = true\n[commit]\ngpgSign = true\n`,
    firesOn: ['commit', '--allow-empty', '--message=x'],
  },
  { name: 'credential.helper', config: (run) => `[credential]\nhelper = !${run}\n`, firesOn: null },
];

test.each(tricks)(
  '$name in the configuration of a job runs nothing, there or in a repository inside',
  async ({ config, firesOn }) => {
    const root = await temporaryDirectory();
    await createGitRepo(join(root, 'base'), { 'a.txt': 'a', 'b.txt': 'b' });
    const { manager } = await startedFixture({ root });
    const id = createJobId();
    await using workspace = await manager.create(id, never);
    const clone = openGitRepo(workspace.path);
    const marker = join(root, 'marker');
    const program = join(root, 'evil.sh');
    await writeFile(program, `#!/bin/sh\ntouch '${marker}'\n`, { mode: 0o755 });
    await writeFile(`${program}.conf`, `[core]\nfsmonitor = ${program}\n`);
    await clone.commit({ 'committed.txt': 'c' });
    await createGitRepo(join(workspace.path, 'nested'), { 'n.txt': 'n' });
    for (const gitDir of [join(workspace.path, '.git'), join(workspace.path, 'nested', '.git')]) {
      await writeFile(join(gitDir, 'config'), `[core]\nrepositoryformatversion = 0\n${config(program)}`);
      await mkdir(join(gitDir, 'info'), { recursive: true });
      await writeFile(join(gitDir, 'info', 'attributes'), '* filter=evil diff=evil\n');
      await writeHooks(join(gitDir, 'evil-hooks'), marker);
    }
    await writeFile(join(workspace.path, '.gitattributes'), '* filter=evil diff=evil\n');
    await writeFile(join(workspace.path, 'a.txt'), 'changed');
    const control = ['-c', 'user.name=x', '-c', 'user.email=x@localhost', ...(firesOn ?? ['version'])];
    await execa('git', control, { cwd: workspace.path, env: gitEnv, reject: false });
    expect((await namesIn(root)).includes('marker')).toBe(firesOn !== null);
    await rm(marker, { force: true });
    await writeHooks(join(workspace.path, '.git', 'hooks'), marker);
    expect(await workspace.changes()).toMatchObject({ commitsMade: 1 });
    const changes = await manager.changesOf(id);
    expect(changes?.files.map(({ path }) => path)).toEqual(['nested/', '.gitattributes', 'a.txt', 'committed.txt']);
    expect(await namesIn(root)).not.toContain('marker');
  },
);

async function writeHooks(directory: string, marker: string): Promise<void> {
  await mkdir(directory, { recursive: true });
  for (const hook of ['post-index-change', 'pre-commit', 'reference-transaction', 'fsmonitor-watchman']) {
    await writeFile(join(directory, hook), `#!/bin/sh\ntouch '${marker}'\n`, { mode: 0o755 });
  }
}
