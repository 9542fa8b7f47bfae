import { mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { execa } from 'execa';
import { expect, test } from 'vitest';
import { createJobId } from '../../src/jobs/job-id.ts';
import { createGitRepo, gitEnv, openGitRepo } from '../helpers/git-repo.ts';
import { cleanUpAfterEach, namesIn, never, startedFixture, temporaryDirectory } from './fixture.ts';
import { tricks, writeHooks } from './tricks.ts';

cleanUpAfterEach();

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
