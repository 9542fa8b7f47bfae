import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { findExecutable } from '../../src/agents/executable.ts';

let dir: string;

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'executable-'));
  await mkdir(join(dir, 'a/tool'), { recursive: true });
  await mkdir(join(dir, 'b'));
  await writeFile(join(dir, 'a/data'), '');
  await writeFile(join(dir, 'b/tool'), '', { mode: 0o755 });
});

afterEach(async () => {
  await rm(dir, { recursive: true });
});

test('a name is the first program on the path that may be run, directories passed over', async () => {
  expect(await findExecutable('tool', `${dir}/none:${dir}/a:${dir}/b`)).toBe(`${dir}/b/tool`);
});

test('a name is not looked for where the agent would stand: relative and empty entries count for nothing', async () => {
  const here = relative(process.cwd(), `${dir}/b`);
  expect(await findExecutable('tool', `${here}::.`)).toBeNull();
});

test('a path is taken from the directory of the service', async () => {
  expect(await findExecutable(relative(process.cwd(), `${dir}/b/tool`), '')).toBe(`${dir}/b/tool`);
});

test.each(['a/data', 'a/tool', 'a/none'])('%s is no program', async (file) => {
  expect(await findExecutable(join(dir, file), undefined)).toBeNull();
});
