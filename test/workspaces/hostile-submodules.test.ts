import { chmod, mkdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { execa } from 'execa';
import { expect, test } from 'vitest';
import { createJobId } from '../../src/jobs/job-id.ts';
import { addressOf, isSafeName } from '../../src/workspaces/submodule-address.ts';
import { createGitRepo, type GitRepo, gitEnv, openGitRepo } from '../helpers/git-repo.ts';
import { cleanUpAfterEach, namesIn, never, startedFixture, temporaryDirectory } from './fixture.ts';
import { tricks, writeHooks } from './tricks.ts';

cleanUpAfterEach();

interface Listed {
  readonly name?: string;
  readonly path?: string;
  readonly url?: string;
  readonly more?: string;
}

/** Lists a submodule as no `git submodule add` would, and has its commit at `at`. */
async function list(repo: GitRepo, sub: GitRepo, at: string, listed: readonly Listed[]): Promise<void> {
  const commit = await sub.git('rev-parse', 'HEAD');
  const texts = listed.map(({ name = 'sub', path = at, url = sub.path, more = '' }) => {
    const quoted = (text: string) => `"${text.replace(/[\\"]/g, '\\$&')}"`;
    return `[submodule ${quoted(name)}]\n\tpath = ${quoted(path)}\n\turl = ${quoted(url)}\n${more}`;
  });
  await writeFile(join(repo.path, '.gitmodules'), texts.join(''));
  await repo.git('add', '.gitmodules');
  await repo.git('update-index', '--add', '--cacheinfo', `160000,${commit},${at}`);
  await repo.git('commit', '--quiet', '--message=hostile');
}

async function baseAndSub() {
  const root = await temporaryDirectory();
  const sub = await createGitRepo(join(root, 'sub'), { 's.txt': 's\n' });
  const base = await createGitRepo(join(root, 'base'), { 'a.txt': 'a\n' });
  const marker = join(root, 'marker');
  const program = join(root, 'evil.sh');
  await writeFile(program, `#!/bin/sh\ntouch '${marker}'\n`, { mode: 0o755 });
  return { root, sub, base, program };
}

test.each(tricks)('$name in the configuration of a submodule of a job runs nothing', async ({ config, firesOn }) => {
  const { root, sub, base, program } = await baseAndSub();
  await list(base, sub, 'libs/sub', [{}]);
  const { manager } = await startedFixture({ root, submodules: true });
  const id = createJobId();
  await using workspace = await manager.create(id, never);
  const marker = join(root, 'marker');
  const gitDir = join(workspace.path, '.git', 'modules', 'sub');
  const place = join(workspace.path, 'libs', 'sub');
  await writeFile(`${program}.conf`, `[core]\nfsmonitor = ${program}\n`);
  await openGitRepo(place).commit({ 'committed.txt': 'c' });
  const core = '[core]\nrepositoryformatversion = 0\nworktree = ../../../libs/sub\n';
  await writeFile(join(gitDir, 'config'), `${core}${config(program).replace('.git/evil-hooks', '.git-hooks')}`);
  await mkdir(join(gitDir, 'info'), { recursive: true });
  await writeFile(join(gitDir, 'info', 'attributes'), '* filter=evil diff=evil\n');
  // Where `core.hooksPath` leads from the work tree, and where hooks are.
  await writeHooks(join(place, '.git-hooks'), marker);
  await writeHooks(join(gitDir, 'hooks'), marker);
  await writeFile(join(place, '.gitattributes'), '* filter=evil diff=evil\n');
  await writeFile(join(place, 's.txt'), 'changed\n');
  const command = (firesOn ?? ['version']).map((argument) => (argument === 'a.txt' ? 's.txt' : argument));
  const control = ['-c', 'user.name=x', '-c', 'user.email=x@localhost', ...command];
  await execa('git', control, { cwd: place, env: gitEnv, reject: false });
  expect((await namesIn(root)).includes('marker')).toBe(firesOn !== null);
  await rm(marker, { force: true });
  await workspace.changes();
  const files = (await manager.changesOf(id))?.files.map(({ path }) => path);
  expect(files).toEqual(expect.arrayContaining(['libs/sub', 'libs/sub/s.txt', 'libs/sub/committed.txt']));
  expect(await namesIn(root)).not.toContain('marker');
});

test('what .gitmodules asks to run is not run, and the submodule is there', async () => {
  const { root, sub, base, program } = await baseAndSub();
  const more = `\tupdate = !${program}\n\tbranch = "--upload-pack=${program}"\n\tfetchRecurseSubmodules = true\n`;
  await list(base, sub, 'libs/sub', [{ more: `${more}[core]\n\tfsmonitor = ${program}\n\tsshCommand = ${program}\n` }]);
  const fixture = await startedFixture({ root, submodules: true });
  await using workspace = await fixture.create();
  expect(await readFile(join(workspace.path, 'libs/sub/s.txt'), 'utf8')).toBe('s\n');
  expect(await workspace.changes()).toMatchObject({ filesChanged: 0, problem: null });
  expect(await namesIn(root)).not.toContain('marker');
});

test('hooks, filters and other settings of the repository that is a submodule run nothing, and do not come along', async () => {
  const { root, sub, base, program } = await baseAndSub();
  await sub.commit({ '.gitattributes': '* filter=evil\n' });
  for (const line of tricks.filter(({ name }) => name !== 'include.path').map(({ config }) => config(program))) {
    await writeFile(join(sub.path, '.git', 'more.conf'), line, { flag: 'a' });
  }
  await list(base, sub, 'libs/sub', [{}]);
  await sub.git('config', 'include.path', join(sub.path, '.git', 'more.conf'));
  await writeHooks(join(sub.path, '.git', 'hooks'), join(root, 'marker'));
  const fixture = await startedFixture({ root, submodules: true });
  await using workspace = await fixture.create();
  expect(await readFile(join(workspace.path, 'libs/sub/s.txt'), 'utf8')).toBe('s\n');
  expect(await namesIn(join(workspace.path, '.git/modules/sub'))).not.toContain('hooks');
  expect(await readFile(join(workspace.path, '.git/modules/sub/config'), 'utf8')).not.toContain('evil');
  expect(await namesIn(root)).not.toContain('marker');
});

const refused: readonly (readonly [string, Listed, string])[] = [
  ['a URL like an option', { url: '--upload-pack=touch marker' }, 'its address is none that git can be given'],
  ['a URL like a short option', { url: '-u./evil.sh' }, 'its address is none that git can be given'],
  ['a URL that is a command', { url: 'ext::sh -c touch% marker' }, 'its address is none that git can be given'],
  ['another helper', { url: 'fd::17' }, 'its address is not one of https, ssh or git'],
  ['a host like an option', { url: 'ssh://-oProxyCommand=x/y' }, 'its address is not one of https, ssh or git'],
  ['another protocol', { url: 'ftp://127.0.0.1/x' }, 'its address is not one of https, ssh or git'],
  ['no encryption', { url: 'http://127.0.0.1:1/x' }, 'its address is not one of https, ssh or git'],
  ['a way up that is too long', { url: `${'../'.repeat(40)}etc` }, 'its address is none that git can be given'],
  ['a path upwards', { path: '../x' }, '.gitmodules does not name it'],
  ['a name that leads out', { name: '../../../x' }, 'its name is none that git allows'],
  ['a name in the middle', { name: 'a/../../hooks' }, 'its name is none that git allows'],
  ['a name like an option', { name: '-x' }, 'its name is none that git allows'],
  ['the wish to be left alone', { more: '\tupdate = none\n' }, '.gitmodules asks not to check it out'],
];

test.each(refused)('%s is refused, named, and stops no job', async (_, listed, reason) => {
  const { root, sub, base } = await baseAndSub();
  await list(base, sub, 'libs/sub', [listed]);
  const fixture = await startedFixture({ root, submodules: true });
  await using workspace = await fixture.create();
  expect(await namesIn(join(workspace.path, 'libs/sub'))).toEqual([]);
  expect(await workspace.changes()).toMatchObject({
    ...{ filesChanged: 0, truncated: false },
    leftOut: [{ path: 'libs/sub', kind: 'submodule', reason }],
  });
  expect(await namesIn(root)).toEqual(expect.arrayContaining(['base', 'evil.sh', 'jobs', 'runs', 'scratch', 'sub']));
  expect(await namesIn(root)).toHaveLength(6);
  expect(await namesIn(join(workspace.path, '.git', 'hooks'))).toEqual([]);
});

test('attributes that are a link to an endless file are not read, neither of the base nor of a submodule', async () => {
  const { root, sub, base } = await baseAndSub();
  for (const repo of [sub, base]) {
    await symlink('/dev/zero', join(repo.path, '.gitattributes'));
    await repo.commit({});
  }
  await list(base, sub, 'libs/sub', [{}]);
  const fixture = await startedFixture({ root, submodules: true, lfs: true });
  await using workspace = await fixture.create();
  expect(await readFile(join(workspace.path, 'libs/sub/s.txt'), 'utf8')).toBe('s\n');
  expect(await workspace.changes()).toMatchObject({ filesChanged: 0, problem: null });
});

test('a submodule never gets a git directory inside that of another', async () => {
  const { root, sub, base } = await baseAndSub();
  await list(base, sub, 'one', [{ name: 'one' }]);
  const listed = [
    { name: 'one', path: 'one' },
    { name: 'one/hooks', path: 'two' },
  ];
  await list(base, sub, 'two', listed);
  const fixture = await startedFixture({ root, submodules: true });
  await using workspace = await fixture.create();
  expect(await workspace.changes()).toMatchObject({
    leftOut: [{ path: 'two', reason: 'its name leads into another submodule' }],
  });
});

test.each(['[submodule', '', '[submodule "sub"]\n\tpath = libs/sub\n'])(
  'a .gitmodules that says %j leads nowhere',
  async (text) => {
    const { root, sub, base } = await baseAndSub();
    await list(base, sub, 'libs/sub', [{}]);
    await writeFile(join(base.path, '.gitmodules'), text);
    await base.git('add', '.gitmodules');
    await base.git('commit', '--quiet', '--message=other');
    const fixture = await startedFixture({ root, submodules: true });
    await using workspace = await fixture.create();
    const leftOut = [{ path: 'libs/sub', kind: 'submodule', reason: '.gitmodules does not name it' }];
    expect(await workspace.changes()).toMatchObject({ leftOut });
  },
);

test('a job that overwrites all that it has of a submodule harms neither the service nor the next job', async () => {
  const { root, sub, base } = await baseAndSub();
  await list(base, sub, 'libs/sub', [{}]);
  const fixture = await startedFixture({ root, submodules: true });
  {
    await using hostile = await fixture.create();
    const objects = join(hostile.path, '.git', 'modules', 'sub', 'objects', 'pack');
    for (const name of await namesIn(objects)) {
      await chmod(join(objects, name), 0o600);
      await writeFile(join(objects, name), 'overwritten', { flag: 'r+' });
    }
    await writeFile(join(hostile.path, '.git', 'agent-service.json'), '{"commit":');
    await writeFile(join(hostile.path, 'libs/sub/s.txt'), 'changed\n');
    expect(await hostile.changes()).toMatchObject({ filesChanged: 1, insertions: 1, truncated: false });
  }
  await using next = await fixture.create();
  expect(await readFile(join(next.path, 'libs/sub/s.txt'), 'utf8')).toBe('s\n');
  expect(await openGitRepo(join(next.path, 'libs/sub')).git('fsck')).toBe('');
});

const from = (url: string, baseUrl = url) => ({ url, baseUrl });
const ours = 'https://user:secret@example.com/team/base.git';

test.each([
  ['../sub.git', from(ours), 'https://user:secret@example.com/team/sub.git', false],
  ['../../other/sub', from(ours), 'https://user:secret@example.com/other/sub', false],
  ['./inner', from(ours), 'https://user:secret@example.com/team/base.git/inner', false],
  ['../sub', from('git@example.com:team/base.git'), 'git@example.com:team/sub', false],
  ['../sub', from('/srv/base'), '/srv/sub', false],
  ['../sub', from('file:///srv/base'), 'file:///srv/sub', false],
  ['https://example.com/x', from(ours), 'https://example.com/x', false],
  ['ssh://git@EXAMPLE.com/x', from(ours), 'ssh://git@EXAMPLE.com/x', false],
  ['https://elsewhere.org/x', from(ours), 'https://elsewhere.org/x', true],
  ['git@elsewhere.org:x', from(ours), 'git@elsewhere.org:x', true],
  ['../y', from('https://elsewhere.org/x', ours), 'https://elsewhere.org/y', true],
  ['http://example.com/x', from('http://example.com/base'), 'http://example.com/x', false],
])('%s is an address beside %o', (url, parent, expected, isForeign) => {
  expect(addressOf(url, parent)).toMatchObject({ url: expected, isForeign });
});

test.each([
  '/srv/x',
  'file:///srv/x',
  '../../../x',
  'x',
  'a b',
  'https:///x',
  'https://example.com\\@evil/x',
  'https://a@b@c/x',
  'host::x',
  '',
  '.',
  '..',
  'x\ny',
])('%j is no address where the base comes over a network', (url) => {
  expect(addressOf(url, from(ours))).toEqual(expect.any(String));
});

test.each(['a', 'libs/sub', 'a.b', 'ü', 'a b'])('%j is a safe name', (name) => expect(isSafeName(name)).toBe(true));
test.each(['', '/', 'a//b', '..', 'a/..', '.git', 'a/.GIT', '-a', 'a/-b', 'a\\b', 'a\nb', 'x'.repeat(201)])(
  '%j is none',
  (name) => expect(isSafeName(name)).toBe(false),
);
