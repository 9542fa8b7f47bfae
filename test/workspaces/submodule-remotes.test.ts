import { once } from 'node:events';
import { readFile, writeFile } from 'node:fs/promises';
import { type AddressInfo, createServer } from 'node:net';
import { join } from 'node:path';
import { execa } from 'execa';
import { expect, test } from 'vitest';
import { createGitRepo, gitEnv } from '../helpers/git-repo.ts';
import { waitFor } from '../helpers/wait.ts';
import { cleanUpAfterEach, cleanUpLater, startedFixture, temporaryDirectory, wrapGit } from './fixture.ts';

cleanUpAfterEach();

test('the password of the base is not given to a host that a commit names', async () => {
  const root = await temporaryDirectory();
  const heard = join(root, 'heard');
  // Of each fetch the address that it names last but one, and who would be asked for a password.
  const git = await wrapGit({
    fetch: `for url; do case $url in https:*) echo "$url \${GIT_ASKPASS-none}" >>'${heard}'; echo away >&2; exit 128 ;; esac; done`,
  });
  const base = await createGitRepo(join(root, 'base'), { 'a.txt': 'a' });
  const urls = { own: '../own.git', same: 'https://localhost:1/same', other: 'https://elsewhere.invalid/other' };
  for (const [name, url] of Object.entries(urls)) {
    await writeFile(join(base.path, '.gitmodules'), `[submodule "${name}"]\n\tpath = ${name}\n\turl = ${url}\n`, {
      flag: 'a',
    });
    await base.git('update-index', '--add', '--cacheinfo', `160000,${'1'.repeat(40)},${name}`);
  }
  await base.git('add', '.gitmodules');
  await base.git('commit', '--quiet', '--message=submodules');
  await base.git('remote', 'add', 'origin', 'https://localhost:1/team/base.git');
  const gitEnvWith = { ...git.env, GIT_ASKPASS: '/bin/askpass' };
  const fixture = await startedFixture({ root, submodules: true, gitEnv: gitEnvWith });
  await using workspace = await fixture.create();
  expect((await workspace.changes())?.leftOut?.map(({ path }) => path)).toEqual(['other', 'own', 'same']);
  const asked = new Set((await readFile(heard, 'utf8')).trim().split('\n'));
  expect([...asked].toSorted((a, b) => a.localeCompare(b))).toEqual([
    'https://elsewhere.invalid/other none',
    'https://localhost:1/same /bin/askpass',
    'https://localhost:1/team/own.git /bin/askpass',
  ]);
});

/** Serves all repositories below the directory. */
async function serveGit(root: string): Promise<string> {
  const probe = createServer().listen(0, '127.0.0.1');
  await once(probe, 'listening');
  const { port } = probe.address() as AddressInfo;
  await new Promise((resolve) => probe.close(resolve));
  const options = ['--export-all', '--reuseaddr', '--listen=127.0.0.1', `--port=${port}`, `--base-path=${root}`];
  const daemon = execa('git', ['daemon', ...options], {
    env: gitEnv,
    extendEnv: false,
    reject: false,
    stdio: 'ignore',
    killDescendants: true,
  });
  cleanUpLater(async () => {
    daemon.kill();
    await daemon;
  });
  await waitFor(
    async () => await execa('git', ['ls-remote', `git://127.0.0.1:${port}/origin`], { env: gitEnv, reject: false }),
    ({ failed }) => !failed,
    { what: 'the server of git' },
  );
  return `git://127.0.0.1:${port}`;
}

test('over a network a submodule is found beside the base, and none is taken from this machine', async () => {
  const root = await temporaryDirectory();
  const sub = await createGitRepo(join(root, 'sub'), { 's.txt': 'one\n' });
  const origin = await createGitRepo(join(root, 'origin'), { 'a.txt': 'a\n' });
  const add = async (url: string, path: string) =>
    await origin.git('-c', 'protocol.file.allow=always', 'submodule', '--quiet', 'add', url, path);
  await add('../sub', 'libs/sub');
  await add(sub.path, 'here');
  await origin.commit({});
  const url = await serveGit(root);
  const fixture = await startedFixture({ root: join(root, 'service'), baseUrl: `${url}/origin`, submodules: true });
  await using workspace = await fixture.create();
  expect(await readFile(join(workspace.path, 'libs/sub/s.txt'), 'utf8')).toBe('one\n');
  const { stdout } = await execa('git', ['remote', 'get-url', 'origin'], { cwd: join(workspace.path, 'libs/sub') });
  expect(stdout).toBe(`${url}/sub`);
  const leftOut = [{ path: 'here', kind: 'submodule', reason: 'its address is a path on this machine' }];
  expect(await workspace.changes()).toMatchObject({ filesChanged: 0, leftOut });
});
