import { chmod, mkdir, readFile, rename, stat, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { execa } from 'execa';
import { describe, expect, test } from 'vitest';
import { createRemoval } from '../../src/workspaces/removal.ts';
import { waitFor } from '../helpers/wait.ts';
import { cleanUpAfterEach, namesIn, recordingLog, temporaryDirectory, trashEmpty } from './fixture.ts';

cleanUpAfterEach();

async function fixture() {
  const root = await temporaryDirectory();
  const jobsDir = join(root, 'jobs');
  const workspace = join(jobsDir, 'job');
  await mkdir(workspace, { recursive: true });
  await mkdir(join(root, 'outside'));
  await writeFile(join(root, 'outside', 'victim'), 'alive');
  await chmod(join(root, 'outside'), 0o500);
  const log = recordingLog();
  return { root, jobsDir, workspace, log, removal: createRemoval({ jobsDir, log }) };
}

describe('the removal of a workspace', () => {
  test('takes it out of sight at once and removes it in the background', async () => {
    const { jobsDir, workspace, removal } = await fixture();
    await writeFile(join(workspace, 'file'), 'x');
    await removal.discard('job');
    await expect(stat(workspace)).rejects.toThrow('ENOENT');
    await trashEmpty(jobsDir);
  });

  test('follows no link inside it, and none that a job put in its place', async () => {
    const { root, jobsDir, workspace, removal } = await fixture();
    const before = (await stat(join(root, 'outside'))).mode;
    await symlink(join(root, 'outside'), join(workspace, 'link'));
    await symlink('/', join(workspace, 'root'));
    await removal.discard('job');
    await symlink(join(root, 'outside'), workspace);
    await removal.discard('job');
    await trashEmpty(jobsDir);
    expect(await namesIn(root)).toEqual(['jobs', 'outside']);
    expect((await stat(join(root, 'outside'))).mode).toBe(before);
    expect(await readFile(join(root, 'outside', 'victim'), 'utf8')).toBe('alive');
  });

  test('also removes directories without rights, 2,000 levels, and names that are no text', async () => {
    const { jobsDir, workspace, log, removal } = await fixture();
    await mkdir(join(workspace, 'closed', 'inner'), { recursive: true });
    await writeFile(join(workspace, 'closed', 'inner', 'file'), 'x');
    await chmod(join(workspace, 'closed', 'inner'), 0);
    await chmod(join(workspace, 'closed'), 0);
    // Twice a thousand: a path that deep is too long to be named at once.
    const thousand = 'dd/'.repeat(1_000);
    await execa('bash', ['-c', 'mkdir -p "$1" && cd -P "$1" && mkdir -p "$1"', 'bash', thousand], { cwd: workspace });
    await execa('bash', ['-c', `touch $'\\xff\\xfe' -- '-rf' $'new\\nline'`], { cwd: workspace });
    await removal.discard('job');
    await trashEmpty(jobsDir);
    expect(log.lines).toEqual([]);
    expect(removal.quarantined()).toBe(0);
  });

  test('that fails leaves it in the trash, logged and counted', async ({ skip }) => {
    const { jobsDir, workspace, log, removal } = await fixture();
    await writeFile(join(workspace, 'file'), 'x');
    await mkdir(join(jobsDir, '.trash', 'immovable'), { recursive: true });
    const frozen = await execa('chattr', ['+i', join(jobsDir, '.trash', 'immovable')], { reject: false });
    if (frozen.failed) skip('only root, on some file systems, can make what cannot be removed');
    try {
      await removal.emptyTrash();
      await waitFor(removal.quarantined, (count) => count === 1);
      await removal.discard('job');
      await waitFor(
        () => namesIn(join(jobsDir, '.trash')),
        (names) => names.join() === 'immovable',
      );
      expect(log.lines.map(({ level }) => level)).toEqual(['error']);
    } finally {
      await execa('chattr', ['-i', join(jobsDir, '.trash', 'immovable')]);
    }
  });

  test('of what is not there logs, and does not reject', async () => {
    const { jobsDir, workspace, log, removal } = await fixture();
    await rename(workspace, `${workspace}-moved`);
    await removal.discard('job');
    expect(log.lines.map(({ message }) => message)).toEqual(['workspace could not be moved to the trash']);
    expect(await namesIn(join(jobsDir, '.trash'))).toEqual([]);
  });

  test('is waited for by a close', async () => {
    const { jobsDir, workspace, removal } = await fixture();
    for (let n = 0; n < 200; n += 1) await writeFile(join(workspace, `f${n}`), 'x');
    await removal.discard('job');
    await removal.close();
    expect(await namesIn(join(jobsDir, '.trash'))).toEqual([]);
  });
});
