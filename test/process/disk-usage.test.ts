import { link, mkdir, mkdtemp, open, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { diskUsage } from '../../src/process/disk-usage.ts';

const mib = 1024 ** 2;
const options = { timeoutMs: 60_000, signal: new AbortController().signal };
let dir: string;

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'disk-usage-'));
});

afterEach(() => rm(dir, { recursive: true }));

test('all directories are told together, each file once, without holes and without what links point at', async () => {
  await mkdir(join(dir, 'one'));
  await mkdir(join(dir, '-two\n9999999\tx'));
  await mkdir(join(dir, 'outside'));
  await writeFile(join(dir, 'outside/large'), Buffer.alloc(8 * mib, 1));
  await symlink('../outside', join(dir, 'one/link'));
  await writeFile(join(dir, 'one/file'), Buffer.alloc(3 * mib, 1));
  await link(join(dir, 'one/file'), join(dir, 'one/again'));
  const sparse = await open(join(dir, 'one/sparse'), 'w');
  await sparse.truncate(1024 * mib);
  await sparse.close();
  const one = await diskUsage([join(dir, 'one')], options);
  expect((one ?? 0) / mib).toBeGreaterThan(2.9);
  expect((one ?? 0) / mib).toBeLessThan(3.5);
  await writeFile(join(dir, '-two\n9999999\tx/file'), Buffer.alloc(mib, 1));
  const both = await diskUsage([join(dir, 'one'), join(dir, '-two\n9999999\tx')], options);
  expect(((both ?? 0) - (one ?? 0)) / mib).toBeGreaterThan(0.9);
  expect(((both ?? 0) - (one ?? 0)) / mib).toBeLessThan(1.5);
});

test('what is not there is left out, and where nothing is left nothing is told', async () => {
  expect(await diskUsage([dir, join(dir, 'none')], options)).toBeGreaterThan(0);
  expect(await diskUsage([join(dir, 'none')], options)).toBeNull();
});

test('what is not told in time, or not wanted any more, is null', async () => {
  expect(await diskUsage(['/'], { ...options, timeoutMs: 1 })).toBeNull();
  expect(await diskUsage([dir], { ...options, signal: AbortSignal.abort() })).toBeNull();
});
