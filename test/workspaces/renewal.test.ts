import { chmod, mkdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { execa } from 'execa';
import { describe, expect, test } from 'vitest';
import { createJobId } from '../../src/jobs/job-id.ts';
import { momentText, noteStore } from '../../src/workspaces/store-notes.ts';
import { copierFile, createTreeCopier } from '../../src/workspaces/tree-copier.ts';
import type { WorkspaceMeter } from '../../src/workspaces/workspace-meter.ts';
import { createGitRepo, openGitRepo } from '../helpers/git-repo.ts';
import { waitFor } from '../helpers/wait.ts';
import {
  cleanUpAfterEach,
  cleanUpLater,
  type Fixture,
  namesIn,
  never,
  startedFixture,
  temporaryDirectory,
  trashEmpty,
} from './fixture.ts';
import { expectFresh, type Surroundings } from './fresh-clone.ts';
import { bearable, mischiefFiles, unbearable } from './mischief.ts';

cleanUpAfterEach();

const built = !(await execa(copierFile, ['prepare', import.meta.dirname], { reject: false })).failed;
if (!built) console.warn('native/copytree is not built: the tests that need it are SKIPPED');

type Used = Fixture & Surroundings;

/** With a pool, a remote, and a clone of the frozen kind to renew others by. */
async function usedFixture(options: Parameters<typeof startedFixture>[0] = {}): Promise<Used> {
  const root = await temporaryDirectory();
  const outside = join(root, 'outside');
  const origin = await createGitRepo(join(root, 'origin'), mischiefFiles);
  await mkdir(outside);
  const fixture = await startedFixture({
    ...{ root, baseUrl: origin.path, poolSize: 1, fetchDebounceMs: 0 },
    ...options,
  });
  await fixture.manager.sweep();
  await ready(fixture, options.poolSize ?? 1);
  return { ...fixture, origin, outside };
}

async function ready({ manager }: Pick<Fixture, 'manager'>, count: number): Promise<void> {
  await waitFor(manager.ready, (is) => is === count, { what: `${count} ready clones` });
}

/** There is a frozen clone of the base's second commit, and the pool is at rest. */
async function frozenAnew(fixture: Fixture): Promise<void> {
  await waitFor(
    () => fixture.log.lines.filter(({ message }) => message === 'a clone is there to be copied').length,
    (made) => made === 2,
    { what: 'a new frozen clone' },
  );
  await ready(fixture, 1);
}

/** Tells it from another directory that got its number later. */
async function identityOf(path: string): Promise<string> {
  const { ino, birthtimeNs } = await stat(path, { bigint: true });
  return `${ino} ${birthtimeNs}`;
}

/** Tells it from another file that got its number later. */
async function fileIdentityOf(path: string): Promise<string> {
  const { ino, ctimeNs } = await stat(path, { bigint: true });
  return `${ino} ${ctimeNs}`;
}

describe.runIf(built)('a clone that was given back', () => {
  test.each(bearable)('serves the next job as if it were new, after one that $name', async ({ act }) => {
    const fixture = await usedFixture();
    const used = await fixture.create();
    const identity = await identityOf(used.path);
    await act(used.path, fixture.outside);
    expect((await used.changes())?.problem).not.toBe('The change set could not be taken');
    await used.giveBack();
    expect(await namesIn(fixture.jobsDir)).not.toContain(used.path.slice(fixture.jobsDir.length + 1));
    await ready(fixture, 2);
    const next = [await fixture.create(), await fixture.create()];
    const identities = await Promise.all(next.map(({ path }) => identityOf(path)));
    expect(identities).toContain(identity);
    const outside = join(fixture.outside, 'link');
    if ((await namesIn(fixture.outside)).includes('link'))
      await writeFile(outside, 'through the link\n', { flag: 'r+' });
    for (const workspace of next) await expectFresh(workspace, fixture);
  });

  test.each(unbearable)('is given up after a job that $name', async ({ act }) => {
    const fixture = await usedFixture();
    const used = await fixture.create();
    await ready(fixture, 1);
    const identity = await identityOf(used.path);
    await act(used.path, fixture.outside);
    await used.changes();
    await used.giveBack();
    await waitFor(
      async () => await namesIn(join(fixture.jobsDir, '.pool')),
      (names) => names.length === 1,
      { what: 'a pool without it' },
    );
    await trashEmpty(fixture.jobsDir);
    expect(fixture.log.lines.filter(({ message }) => message === 'a used clone is not kept')).toHaveLength(1);
    await using next = await fixture.create();
    expect(await identityOf(next.path)).not.toBe(identity);
    await expectFresh(next, fixture);
  });

  test('is brought to the commit that the base has by then', async () => {
    const fixture = await usedFixture();
    const used = await fixture.create();
    const identity = await identityOf(used.path);
    await writeFile(join(used.path, 'a.txt'), 'mine');
    await fixture.origin.git('rm', '--quiet', 'd/two.txt');
    await fixture.origin.commit({ 'b.txt': 'moved on\n', 'd/new.txt': 'new\n' });
    // Somebody looks at the remote, and there is a frozen clone of the new commit.
    await using other = await fixture.create();
    await frozenAnew(fixture);
    await used.giveBack();
    await ready(fixture, 2);
    const next = [await fixture.create(), await fixture.create()];
    const identities = await Promise.all(next.map(({ path }) => identityOf(path)));
    expect(identities).toContain(identity);
    for (const [n, workspace] of next.entries()) {
      await expectFresh(workspace, fixture, { isFetched: identities[n] !== identity });
    }
    await expectFresh(other, fixture, { isFetched: true });
  });

  test('is given up where other attributes make other files of the same content', async () => {
    const fixture = await usedFixture();
    const used = await fixture.create();
    await ready(fixture, 1);
    const identity = await identityOf(used.path);
    await fixture.origin.commit({ '.gitattributes': '*.txt text eol=crlf\n' });
    await using other = await fixture.create();
    expect(await readFile(join(other.path, 'b.txt'), 'utf8')).toBe('bbbb\r\n');
    await frozenAnew(fixture);
    await used.giveBack();
    await trashEmpty(fixture.jobsDir);
    const next = [await fixture.create(), await fixture.create()];
    expect(await Promise.all(next.map(({ path }) => identityOf(path)))).not.toContain(identity);
    for (const { path } of next) expect(await readFile(join(path, 'b.txt'), 'utf8')).toBe('bbbb\r\n');
  });

  test('is made good at once for a job that waits', async () => {
    const kinds: string[] = [];
    const meter: WorkspaceMeter = { lockWaited: () => {}, prepared: (by) => void kinds.push(by), removed: () => {} };
    let hasRoom = true;
    const fixture = await usedFixture({ meter, refusal: async () => (hasRoom ? null : 'no room') });
    const used = await fixture.create();
    const first = await fixture.create();
    hasRoom = false;
    await waitFor(fixture.manager.ready, (count) => count <= 1, { what: 'a pool that rests' });
    expect(kinds).toHaveLength(2);
    await writeFile(join(used.path, 'a.txt'), 'mine');
    await used.giveBack();
    await using next = await fixture.create();
    await expectFresh(next, fixture);
    await first[Symbol.asyncDispose]();
  });

  test('goes where the disk is too full, and where there is no pool', async () => {
    let hasRoom = true;
    const fixture = await usedFixture({ refusal: async () => (hasRoom ? null : 'no room') });
    const used = await fixture.create();
    await ready(fixture, 1);
    hasRoom = false;
    await used.giveBack();
    await waitFor(
      async () => await namesIn(join(fixture.jobsDir, '.pool')),
      (names) => names.length === 1,
      {
        what: 'a pool without it',
      },
    );
    const without = await usedFixture({ poolSize: 0 });
    const workspace = await without.create();
    await workspace.giveBack();
    await trashEmpty(without.jobsDir);
    expect((await namesIn(without.jobsDir)).filter((name) => !name.startsWith('.'))).toEqual([]);
  });

  interface Noting {
    readonly seconds?: string;
    readonly pack?: (line: string) => string;
  }
  test.each<readonly [string, Noting, readonly string[]]>([
    ['all that is as it was noted, before the moment', {}, ['a.txt', 'pack']],
    ['no file, where the moment was before', { seconds: '1.0' }, []],
    ['no pack of another number', { pack: (line: string) => line.replace(/^\d+/, '7') }, ['a.txt']],
    ['no pack of another size', { pack: (line: string) => line.replace(/ \d+ /, ' 7 ') }, ['a.txt']],
    ['no pack of another time', { pack: (line: string) => line.replace(/\.\d+ /, '.7 ') }, ['a.txt']],
  ])('keeps %s', async (_name, { seconds, pack = (line: string) => line }, kept) => {
    const root = await temporaryDirectory();
    const { git, path } = await createGitRepo(join(root, 'one'), mischiefFiles);
    await git('repack', '--quiet', '-a', '-d');
    const copier = createTreeCopier({ file: copierFile, reflink: false, threads: 2, lowPriority: false });
    cleanUpLater(copier.close);
    const copy = join(root, 'copy');
    await mkdir(copy);
    await chmod(copy, (await stat(path)).mode);
    await copier.copy(path, copy, never);
    const [packName = ''] = (await namesIn(join(copy, '.git/objects/pack'))).filter((name) => name.endsWith('.pack'));
    const files = { 'a.txt': 'a.txt', pack: `.git/objects/pack/${packName}` };
    const identities = async () =>
      await Promise.all(Object.values(files).map((name) => fileIdentityOf(join(copy, name))));
    const before = await identities();
    const moment = seconds ?? momentText((await stat(join(copy, '.git/index'), { bigint: true })).ctimeNs + 1n);
    const notes = [moment, ...(await noteStore(copy)).map(pack)].join('\n');
    await copier.renew(path, copy, { index: join(copy, '.git/index'), notes }, never);
    const after = await identities();
    expect(Object.keys(files).filter((_, n) => before[n] === after[n])).toEqual(kept);
    expect(await openGitRepo(copy).git('status', '--porcelain')).toBe('');
  });

  test('is one too many when nobody has needed it for a while', async () => {
    const fixture = await usedFixture({ surplusMs: 300 });
    const used = await Promise.all(Array.from({ length: 4 }, () => fixture.create()));
    await Promise.all(used.map((workspace) => workspace.giveBack()));
    expect(await namesIn(join(fixture.jobsDir, '.pool'))).not.toEqual([]);
    await ready(fixture, 1);
    await waitFor(
      async () => await namesIn(join(fixture.jobsDir, '.pool')),
      (names) => names.length === 1,
      {
        what: 'a pool of its size',
      },
    );
  });

  test('is given up where jobs do not take theirs from the pool, or it would grow with each of them', async () => {
    const fixture = await usedFixture();
    await fixture.origin.git('branch', 'other');
    for (let job = 0; job < 6; job += 1) {
      const used = await fixture.manager.create(createJobId(), never, { ref: 'other' });
      await used.giveBack();
    }
    // One more than its size: so many jobs ran at once.
    await ready(fixture, 2);
    await trashEmpty(fixture.jobsDir);
    expect(await namesIn(join(fixture.jobsDir, '.pool'))).toHaveLength(2);
  });

  test('leaves no notes, whatever becomes of it', async () => {
    const fixture = await usedFixture();
    for (let round = 0; round < 3; round += 1) {
      const used = await fixture.create();
      await used.changes();
      await used.giveBack();
      await used[Symbol.asyncDispose]();
    }
    // The ready one, and a second where a new one was made in between.
    await waitFor(
      async () => [(await namesIn(join(fixture.root, 'scratch'))).length, fixture.manager.ready()],
      ([notes, clones]) => notes === clones,
      { what: 'notes on what is ready only' },
    );
    expect(fixture.log.lines.filter(({ level }) => level === 'warn' || level === 'error')).toEqual([]);
  });
});
