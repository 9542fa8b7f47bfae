import { execFileSync } from 'node:child_process';
import { appendFileSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { tailLines } from '../../src/process/tail.ts';

const never = new AbortController().signal;
const maxLineBytes = 1024 * 1024;
let dir: string;
let file: string;

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'tail-'));
  file = join(dir, 'log');
});

afterEach(() => {
  rmSync(dir, { recursive: true });
});

async function all(lines: AsyncIterable<Buffer>): Promise<string[]> {
  const texts: string[] = [];
  for await (const line of lines) texts.push(line.toString());
  return texts;
}

async function next(lines: AsyncIterator<Buffer>): Promise<string | undefined> {
  const result = await lines.next();
  return result.done ? undefined : result.value.toString();
}

describe('following a file', () => {
  test('waits for it to appear, gives each line as it comes, and ends with its writer', async () => {
    let ended = false;
    const lines = tailLines(file, { maxLineBytes, ended: () => ended }, never);
    const first = next(lines);
    writeFileSync(file, 'one\ntw');
    expect(await first).toBe('one');
    const second = next(lines);
    appendFileSync(file, 'o\n');
    expect(await second).toBe('two');
    appendFileSync(file, 'three\nhalf');
    ended = true;
    expect(await all(lines)).toEqual(['three', 'half']);
  });

  test('gives what was written just before the end, whenever that was', async () => {
    for (let i = 0; i < 50; i += 1) {
      let ended = false;
      writeFileSync(file, 'first\n');
      const lines = all(tailLines(file, { maxLineBytes, ended: () => ended }, never));
      setTimeout(() => {
        appendFileSync(file, 'last\n');
        ended = true;
      }, i % 20);
      expect(await lines).toEqual(['first', 'last']);
    }
  });

  test('ends at once if the file never came', async () => {
    expect(await all(tailLines(file, { maxLineBytes, ended: () => true }, never))).toEqual([]);
  });

  test('ends quietly when nobody listens any more, with and without a file', async () => {
    const stop = new AbortController();
    const absent = all(tailLines(file, { maxLineBytes, ended: () => false }, stop.signal));
    writeFileSync(join(dir, 'other'), 'one\n');
    const lines = tailLines(join(dir, 'other'), { maxLineBytes, ended: () => false }, stop.signal);
    expect(await next(lines)).toBe('one');
    const rest = all(lines);
    stop.abort();
    expect(await rest).toEqual([]);
    expect(await absent).toEqual([]);
  });

  test('serves several readers, each from the beginning', async () => {
    writeFileSync(file, 'one\ntwo\n');
    const lines = ['one', 'two'];
    const read = () => all(tailLines(file, { maxLineBytes, ended: () => true }, never));
    expect(await Promise.all([read(), read(), read()])).toEqual([lines, lines, lines]);
  });

  test('reads nothing ahead of a slow reader', async () => {
    writeFileSync(file, 'first\n');
    const lines = tailLines(file, { maxLineBytes, ended: () => true }, never);
    expect(await next(lines)).toBe('first');
    appendFileSync(file, 'x\n'.repeat(1_000_000));
    expect(await all(lines)).toHaveLength(1_000_000);
  });

  test('leaves out a line that is too long, and keeps those around it', async () => {
    writeFileSync(file, `before\n${'x'.repeat(3 * maxLineBytes)}\nafter\n`);
    expect(await all(tailLines(file, { maxLineBytes, ended: () => true }, never))).toEqual(['before', 'after']);
  });

  test('costs bounded memory and lets others run: 50 MB in lines that nobody wants', async () => {
    writeFileSync(file, `${'x'.repeat(99)}\n`.repeat(500_000));
    appendFileSync(file, 'wanted\n');
    let turns = 0;
    let counting = true;
    const count = (): void => {
      turns += 1;
      if (counting) setImmediate(count);
    };
    setImmediate(count);
    const before = process.memoryUsage().rss;
    const needles = [Buffer.from('wanted')];
    expect(await all(tailLines(file, { needles, maxLineBytes, ended: () => true }, never))).toEqual(['wanted']);
    counting = false;
    expect(process.memoryUsage().rss - before).toBeLessThan(32 * 1024 * 1024);
    expect(turns).toBeGreaterThan(100);
  });

  test.each(['fifo', 'link'])('does not follow a %s', async (kind) => {
    if (kind === 'fifo') execFileSync('mkfifo', [file]);
    else execFileSync('ln', ['-s', '/etc/passwd', file]);
    expect(await all(tailLines(file, { maxLineBytes, ended: () => true }, never))).toEqual([]);
  });
});
