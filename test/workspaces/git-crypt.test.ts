import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { execa } from 'execa';
import { describe, expect, test } from 'vitest';
import { createJobId } from '../../src/jobs/job-id.ts';
import { createGitRepo, gitEnv } from '../helpers/git-repo.ts';
import { waitFor } from '../helpers/wait.ts';
import { cleanUpAfterEach, namesIn, never, startedFixture, temporaryDirectory, wrapGit } from './fixture.ts';

cleanUpAfterEach();

const installed = !(await execa('git-crypt', ['--version'], { reject: false })).failed;
if (!installed) console.warn('git-crypt is not installed: the tests that need it are SKIPPED');

/** A base with one encrypted file, and the key beside it. */
async function encryptedBase() {
  const root = await temporaryDirectory();
  const base = await createGitRepo(join(root, 'base'), {
    '.gitattributes': 'secret.txt filter=git-crypt diff=git-crypt\n',
  });
  const options = { cwd: base.path, env: { ...gitEnv }, extendEnv: false };
  await execa('git-crypt', ['init'], options);
  await base.commit({ 'secret.txt': 'plain text' });
  await execa('git-crypt', ['export-key', join(root, 'key')], options);
  return { root, gitCryptKey: join(root, 'key') };
}

describe.runIf(installed)('an encrypted repository', () => {
  test('is readable in a workspace if there is a key, and clean', async () => {
    const fixture = await startedFixture(await encryptedBase());
    await using workspace = await fixture.create();
    expect(await readFile(join(workspace.path, 'secret.txt'), 'utf8')).toBe('plain text');
    const status = await execa('git', ['status', '--porcelain'], { cwd: workspace.path });
    expect(status.stdout).toBe('');
  });

  test('is readable and clean in copies of a clone that was decrypted once', async () => {
    const { env, count } = await wrapGit();
    const fixture = await startedFixture({ ...(await encryptedBase()), gitEnv: env, poolSize: 2 });
    await fixture.manager.sweep();
    await waitFor(fixture.manager.ready, (ready) => ready === 2, { what: 'a full pool' });
    expect(await count('clone')).toBe(1);
    await using workspace = await fixture.create();
    expect(await readFile(join(workspace.path, 'secret.txt'), 'utf8')).toBe('plain text');
    expect((await execa('git', ['status', '--porcelain'], { cwd: workspace.path })).stdout).toBe('');
    expect(await workspace.changes()).toMatchObject({ filesChanged: 0, truncated: false, problem: null });
    await using other = await fixture.create();
    await writeFile(join(other.path, 'secret.txt'), 'OTHER TEXT');
    expect(await other.changes()).toMatchObject({ filesChanged: 1, truncated: true });
  });

  test('brings no plain text into the change set, and no change where nobody made one', async () => {
    const fixture = await startedFixture(await encryptedBase());
    await using untouched = await fixture.create();
    expect(await untouched.changes()).toMatchObject({ filesChanged: 0, truncated: false, problem: null });
    await using workspace = await fixture.create();
    await writeFile(join(workspace.path, 'secret.txt'), 'other text');
    await writeFile(join(workspace.path, 'open.txt'), 'open');
    expect(await workspace.changes()).toMatchObject({ filesChanged: 2, truncated: true });
    const id = createJobId();
    await using third = await fixture.manager.create(id, never);
    await writeFile(join(third.path, 'secret.txt'), 'OTHER TEXT');
    await writeFile(join(third.path, 'open.txt'), 'open');
    await third.changes();
    const patch = Buffer.concat((await (await fixture.manager.patchOf(id))?.toArray()) ?? []).toString();
    expect(patch).toContain('+open');
    expect(patch).not.toMatch(/text/i);
  });

  test('stays locked without a key', async () => {
    const fixture = await startedFixture({ ...(await encryptedBase()), gitCryptKey: '/nonexistent/key' });
    await using workspace = await fixture.create();
    expect((await readFile(join(workspace.path, 'secret.txt'))).subarray(1, 9).toString()).toBe('GITCRYPT');
  });

  test('fails the job with a key that does not fit, and leaves nothing', async () => {
    const options = await encryptedBase();
    const other = await encryptedBase();
    const fixture = await startedFixture({ ...options, gitCryptKey: other.gitCryptKey });
    await expect(fixture.create()).rejects.toThrow('git-crypt could not unlock');
    expect(await namesIn(fixture.jobsDir)).toEqual(['.trash']);
  });
});

test('a key without git-crypt fails the job and names what is missing', async () => {
  const root = await temporaryDirectory();
  await writeFile(join(root, 'key'), 'key');
  const { env } = await wrapGit();
  // The wrapper knows where the real git is; nothing else is found but what it needs.
  const PATH = env['PATH']?.split(':')[0] ?? '';
  const fixture = await startedFixture({ root, gitCryptKey: join(root, 'key'), gitEnv: { ...env, PATH } });
  await expect(fixture.create()).rejects.toThrow('git-crypt is not installed');
  expect(await namesIn(fixture.jobsDir)).toEqual(['.trash']);
});
