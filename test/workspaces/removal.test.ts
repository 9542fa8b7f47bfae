import { chmod, mkdir, readFile, rename, stat, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { execa } from 'execa';
import { describe, expect, test } from 'vitest';
import { createRemover } from '../../src/process/remover.ts';
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
  const remover = createRemover({ log, firstRetryMs: 50 });
  return { root, jobsDir, workspace, log, remover, removal: createRemoval({ jobsDir, remover, log }) };
}

/** Makes a directory that nobody can change; answers how to undo it, wherever the directory is by then. */
async function freeze(path: string, skip: (note: string) => never): Promise<(path: string) => Promise<unknown>> {
  const frozen = await execa('chattr', ['+i', path], { reject: false });
  if (frozen.failed) skip('NOT TESTED: only root, on some file systems, can make what cannot be removed');
  return (now) => execa('chattr', ['-i', now]);
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

  test('also removes directories without rights, 3,000 levels, and names that are no text', async () => {
    const { jobsDir, workspace, log, removal, remover } = await fixture();
    await mkdir(join(workspace, 'closed', 'inner'), { recursive: true });
    await writeFile(join(workspace, 'closed', 'inner', 'file'), 'x');
    await chmod(join(workspace, 'closed', 'inner'), 0);
    await chmod(join(workspace, 'closed'), 0);
    // Three times a thousand: a path that deep is too long to be named at once.
    const script = 'for n in 1 2 3; do mkdir -p "$1" && cd -P "$1" || exit 1; done';
    await execa('bash', ['-c', script, 'bash', 'dd/'.repeat(1_000)], { cwd: workspace });
    await execa('bash', ['-c', `touch $'\\xff\\xfe' -- '-rf' $'new\\nline'`], { cwd: workspace });
    await removal.discard('job');
    await trashEmpty(jobsDir);
    await waitFor(remover.pending, (count) => count === 0);
    expect(remover.quarantined()).toBe(0);
    expect(log.lines).toEqual([]);
  });

  test('that fails is counted, said once, and tried again until it succeeds; others do not wait for it', async ({
    skip,
  }) => {
    const { jobsDir, workspace, log, removal, remover } = await fixture();
    const inner = join(workspace, 'inner');
    await mkdir(inner);
    await writeFile(join(inner, 'file'), 'x');
    const thaw = await freeze(inner, skip);
    try {
      await removal.discard('job');
      await waitFor(remover.quarantined, (count) => count === 1);
      await mkdir(join(jobsDir, 'other'));
      await removal.discard('other');
      await waitFor(
        () => namesIn(join(jobsDir, '.trash')),
        (names) => names.length === 1 && names[0]?.endsWith('-job') === true,
      );
      await waitFor(remover.pending, (count) => count === 1, { what: 'another try' });
      expect(log.lines.map(({ level }) => level)).toEqual(['error']);
    } finally {
      const [left = ''] = await namesIn(join(jobsDir, '.trash'));
      await thaw(join(jobsDir, '.trash', left, 'workspace/inner'));
    }
    await trashEmpty(jobsDir);
    await waitFor(remover.quarantined, (count) => count === 0);
    expect(log.lines.at(-1)).toMatchObject({ level: 'info', message: 'what could not be removed is gone now' });
    await removal.close();
  });

  test('of what cannot even be moved is tried again', async ({ skip }) => {
    const { jobsDir, workspace, removal, remover } = await fixture();
    const thaw = await freeze(workspace, skip);
    try {
      await removal.discard('job');
      expect([remover.quarantined(), await namesIn(jobsDir)]).toEqual([1, ['.trash', 'job']]);
    } finally {
      await thaw(workspace);
    }
    await waitFor(
      () => namesIn(jobsDir),
      (names) => !names.includes('job'),
    );
    await waitFor(remover.quarantined, (count) => count === 0);
    await trashEmpty(jobsDir);
  });

  test('begins with what a dead process left in the trash, also where that is a link', async () => {
    const { root, jobsDir, removal } = await fixture();
    await mkdir(join(jobsDir, '.trash', 'left', 'deep'), { recursive: true });
    await symlink(join(root, 'outside'), join(jobsDir, '.trash', 'link'));
    await removal.emptyTrash();
    await trashEmpty(jobsDir);
    expect(await readFile(join(root, 'outside', 'victim'), 'utf8')).toBe('alive');
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
