import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { openDatabase } from '../../src/store/open-database.ts';
import { waitFor } from '../helpers/wait.ts';

const program = join(import.meta.dirname, 'submit-forever.ts');

interface Submitter {
  readonly child: ChildProcess;
  /** What it printed so far, in whole lines. */
  lines(): readonly string[];
  /** Ends it as a crash does, and waits until all it had printed has arrived. */
  kill(): Promise<void>;
}

let directory: string;
let file: string;
const running: Submitter[] = [];

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'durability-'));
  file = join(directory, 'jobs.db');
});
afterEach(async () => {
  for (const submitter of running.splice(0)) await submitter.kill();
  rmSync(directory, { recursive: true });
});

function startSubmitter(): Submitter {
  const child = spawn(process.execPath, [program, file], { stdio: ['ignore', 'pipe', 'inherit'], env: {} });
  let printed = '';
  child.stdout?.setEncoding('utf8').on('data', (text: string) => {
    printed += text;
  });
  const closed = once(child, 'close');
  const submitter = {
    child,
    lines: () => printed.split('\n').slice(0, -1),
    kill: async () => {
      child.kill('SIGKILL');
      await closed;
    },
  };
  running.push(submitter);
  return submitter;
}

function idsOf(kind: 'accepted' | 'refused', lines: readonly string[]): readonly string[] {
  return lines.filter((line) => line.startsWith(kind)).map((line) => line.split(' ')[1] ?? line);
}

function readIds(): ReadonlySet<unknown> {
  const db = new DatabaseSync(file);
  expect(db.prepare('PRAGMA integrity_check').all()).toEqual([{ integrity_check: 'ok' }]);
  expect(db.prepare('PRAGMA foreign_key_check').all()).toEqual([]);
  const ids = new Set(
    db
      .prepare('SELECT id FROM jobs JOIN long_specs USING (seq)')
      .all()
      .map((row) => row['id']),
  );
  db.close();
  return ids;
}

test('every commit is synchronised to the disk, and the file is held alone', () => {
  const db = openDatabase(file);
  const read = (name: string) => Object.values(db.prepare(`PRAGMA ${name}`).get() ?? {})[0];
  const full = 2;
  expect(['journal_mode', 'synchronous', 'locking_mode', 'foreign_keys'].map(read)).toEqual([
    'wal',
    full,
    'exclusive',
    1,
  ]);
  db.close();
});

test('no acknowledged job is missing after the process was killed, again and again', async () => {
  const acknowledged: string[] = [];
  for (const enough of [1, 40, 150, 400]) {
    const submitter = startSubmitter();
    await waitFor(
      () => submitter.lines().length,
      (count) => count >= enough,
      { what: 'submits' },
    );
    await submitter.kill();
    acknowledged.push(...idsOf('accepted', submitter.lines()));
    const ids = readIds();
    expect(acknowledged.filter((id) => !ids.has(id))).toEqual([]);
  }
  expect(acknowledged.length).toBeGreaterThanOrEqual(591);
}, 60_000);

// A limit on the size of files fails the same writes and commits as a full disk, and needs no file system of its own.
test.skipIf(process.platform !== 'linux')(
  'a disk that fills up refuses submits and nothing else, until there is room again',
  async () => {
    const submitter = startSubmitter();
    const pid = submitter.child.pid ?? 0;
    const limitFileSize = (softLimit: string) =>
      execFileSync('prlimit', ['--pid', String(pid), `--fsize=${softLimit}:`]);
    const since = (from: number, kind: string) =>
      submitter
        .lines()
        .slice(from)
        .filter((line) => line.startsWith(kind));

    await waitFor(submitter.lines, (lines) => lines.length >= 100, { what: 'submits' });
    limitFileSize('65536');
    const readsAndRefusals = () => [since(0, 'refused'), since(0, 'read')] as const;
    const [refused, read] = await waitFor(readsAndRefusals, ([, reads]) => reads.length >= 50, { what: 'refusals' });
    expect([...new Set(refused.map((line) => line.split(' ')[2]))]).toEqual(['UnavailableError']);
    expect([...new Set(read)]).toEqual(['read queued']);

    limitFileSize('unlimited');
    const freedAt = submitter.lines().length;
    await waitFor(
      () => since(freedAt, 'accepted').length,
      (count) => count >= 100,
      { what: 'submits after there is room' },
    );
    await submitter.kill();
    const ids = readIds();
    expect(idsOf('accepted', submitter.lines()).filter((id) => !ids.has(id))).toEqual([]);
    expect(idsOf('refused', submitter.lines()).filter((id) => ids.has(id))).toEqual([]);
  },
  60_000,
);
