import { readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { createGitRepo } from '../helpers/git-repo.ts';
import { cleanUpAfterEach, type Fixture, namesIn, startedFixture, temporaryDirectory } from './fixture.ts';

cleanUpAfterEach();

/** A base whose objects are all in one pack. */
async function packedBase(kind: 'cloned' | 'of its own'): Promise<Fixture & { readonly pack: string }> {
  const root = await temporaryDirectory();
  const source = await createGitRepo(join(root, kind === 'cloned' ? 'origin' : 'base'), {
    'a.txt': 'first\n'.repeat(1000),
    'b.txt': 'b',
  });
  await source.git('repack', '-q', '-a', '-d');
  const fixture = await startedFixture({ root, ...(kind === 'cloned' && { baseUrl: source.path }) });
  const packs = join(fixture.basePath, '.git', 'objects', 'pack');
  const [name = ''] = (await readdir(packs)).filter((file) => file.endsWith('.pack'));
  return { ...fixture, pack: join(packs, name) };
}

async function garble(path: string): Promise<void> {
  const content = await readFile(path);
  content.fill('x', 20, content.length - 40);
  // Packs are made read-only.
  await rm(path);
  await writeFile(path, content);
}

const damages: readonly (readonly [string, (pack: string) => Promise<void>])[] = [
  ['lost its objects', (pack) => rm(pack)],
  ['has garbled objects', garble],
];

test.each(damages)('a base that %s is cloned anew, and the job that found it runs', async (_what, damage) => {
  const { create, pack, basePath, manager, log } = await packedBase('cloned');
  // A first fetch, which would bring back what is missing.
  await (await create())[Symbol.asyncDispose]();
  await damage(pack);
  const workspaces = await Promise.all([create(), create(), create()]);
  for (const workspace of workspaces) {
    expect(await readFile(join(workspace.path, 'a.txt'), 'utf8')).toBe('first\n'.repeat(1000));
    await workspace[Symbol.asyncDispose]();
  }
  expect(log.lines.filter(({ message }) => message === 'base repository was cloned anew')).toHaveLength(1);
  expect(await manager.check()).toBeNull();
  expect((await namesIn(basePath)).filter((name) => name.startsWith('.partial'))).toEqual([]);
});

test('a damaged base that comes from nowhere is left as it is, and said', async () => {
  const { create, pack, log } = await packedBase('of its own');
  await rm(pack);
  await expect(create()).rejects.toThrow('could not be cloned');
  expect(log.lines.some(({ message }) => message === 'base repository is damaged')).toBe(true);
});
