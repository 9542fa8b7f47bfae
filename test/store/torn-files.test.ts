import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { JobId } from '../../src/jobs/job.ts';
import { createSqliteStore } from '../../src/store/sqlite-store.ts';
import { everything, newJob, roomy } from '../contracts/job-builders.ts';
import { silentLog } from '../helpers/fake-ports.ts';
import { waitFor } from '../helpers/wait.ts';

let directory: string;
/** What a crash left: the ids in the order of their admission. */
let left: readonly string[];
const crashed = () => join(directory, 'crashed', 'jobs.db');

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), 'torn-files-'));
  mkdirSync(join(directory, 'crashed'));
  const program = join(import.meta.dirname, 'submit-forever.ts');
  const child = spawn(process.execPath, [program, crashed()], { stdio: ['ignore', 'pipe', 'inherit'], env: {} });
  const closed = once(child, 'close');
  let lines = 0;
  child.stdout.setEncoding('utf8').on('data', (text: string) => (lines += text.split('\n').length - 1));
  await waitFor(
    () => lines,
    (count) => count >= 60,
    { what: 'submits' },
  );
  child.kill('SIGKILL');
  await closed;
  left = await jobsIn(await copy('whole'));
});
afterAll(() => rmSync(directory, { recursive: true }));

async function copy(name: string): Promise<string> {
  mkdirSync(join(directory, name));
  const file = join(directory, name, 'jobs.db');
  for (const suffix of ['', '-wal']) copyFileSync(crashed() + suffix, file + suffix);
  return file;
}

/** Opens the store, submits to it, and answers what was there before, oldest first. */
async function jobsIn(file: string): Promise<readonly string[]> {
  const store = createSqliteStore({ file, log: silentLog });
  try {
    const ids: JobId[] = [];
    for (let beforeSeq: number | null = null; ; ) {
      const page = await store.jobs.list({ ...everything, limit: 200, beforeSeq });
      ids.push(...page.jobs.map(({ id }) => id));
      beforeSeq = page.nextBeforeSeq;
      if (beforeSeq === null) break;
    }
    expect(await store.jobs.submit(newJob(), roomy)).toMatchObject({ outcome: 'admitted' });
    const jobs = await Promise.all(ids.map((id) => store.jobs.get(id)));
    expect(jobs.filter((job) => job?.spec.prompt.startsWith('Say hello.') !== true)).toEqual([]);
    return ids.toReversed();
  } finally {
    await store.close();
  }
}

test.each([1, 24, 500, 4_120, 40_000])(
  'a write-ahead log that is cut short by %d bytes loses the last commits and nothing else',
  async (bytes) => {
    const file = await copy(`cut-${bytes}`);
    truncateSync(`${file}-wal`, statSync(`${file}-wal`).size - bytes);
    const ids = await jobsIn(file);
    expect(ids).toEqual(left.slice(0, ids.length));
    expect(ids.length).toBeGreaterThan(0);
  },
);

test('a write-ahead log with garbage in its place loses what came after it and nothing else', async () => {
  const file = await copy('garbage');
  const wal = await open(`${file}-wal`, 'r+');
  await wal.write(Buffer.alloc(100, 0x5a), 0, 100, Math.floor(statSync(`${file}-wal`).size / 2));
  await wal.close();
  const ids = await jobsIn(file);
  expect(ids).toEqual(left.slice(0, ids.length));
});

test('a write-ahead log with garbage behind its end loses nothing', async () => {
  const file = await copy('longer');
  writeFileSync(`${file}-wal`, Buffer.alloc(10_000, 0x5a), { flag: 'a' });
  expect(await jobsIn(file)).toEqual(left);
  expect(left.length).toBeGreaterThanOrEqual(60);
});
