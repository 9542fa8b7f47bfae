import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { findLastLine, readTail } from '../../src/process/file-end.ts';

const MiB = 1024 * 1024;
const limits = { needle: Buffer.from('"r"'), maxLineBytes: 2 * MiB, maxLookBackBytes: 8 * MiB };
let dir: string;
let file: string;

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'file-end-'));
  file = join(dir, 'log');
});

afterEach(() => {
  rmSync(dir, { recursive: true });
});

const write = (...parts: readonly (string | Buffer)[]): void =>
  writeFileSync(file, Buffer.concat(parts.map((part) => Buffer.from(part))));

/** The number in a line such as {"r":1}. */
function numberOf(line: Buffer): number | null {
  const match = /^\{"r":(\d+)/.exec(line.toString());
  return match === null ? null : Number(match[1]);
}

async function found(): Promise<number | string> {
  const result = await findLastLine(file, numberOf, limits);
  return result.outcome === 'found' ? result.value : result.outcome;
}

describe('the end of a file as text', () => {
  test('is all of a short one', async () => {
    write('short');
    expect(await readTail(file, 100)).toBe('short');
  });

  test('is empty where there is no file', async () => {
    expect(await readTail(file, 100)).toBe('');
  });

  test('does not start in the middle of a character', async () => {
    write('漢漢漢');
    expect(await readTail(file, 7)).toBe('漢漢');
  });

  test('shows U+FFFD for what is not UTF-8', async () => {
    write(Buffer.of(0x61, 0xff, 0x62));
    expect(await readTail(file, 100)).toBe('a\uFFFDb');
  });
});

describe('the last line that means something', () => {
  test.each([
    ['is the last one', ['{"r":1}\n', '{"r":2}\n'], 2],
    ['needs no line break', ['{"r":1}\n', '{"r":2}'], 2],
    ['may be the only one', ['{"r":1}'], 1],
    ['may be followed by others', ['{"r":1}\n', 'x\n', '{"x":"r"}\n', 'half {"r":3'], 1],
    ['may be followed by much', ['{"r":1}\n', 'x'.repeat(MiB), '\n', 'y\n'.repeat(MiB)], 1],
    ['may be long', [`{"r":1,"${'x'.repeat(2 * MiB - 20)}\n`, 'y\n'.repeat(100)], 1],
    ['may follow what is not text', [Buffer.of(0xff, 0x00, 0x0a), '{"r":1}\n'], 1],
    ['is missing in an empty file', [''], 'none'],
    ['is not looked for too far back', ['{"r":1}\n', 'y\n'.repeat(5 * MiB)], 'none'],
    ['is not known if a candidate is too long', ['{"r":1}\n', `{"r":2,"${'x'.repeat(3 * MiB)}\n`, 'y\n'], 'too_long'],
    ['is found before a long line of another kind', ['{"r":1}\n', 'x'.repeat(4 * MiB), '\n'], 1],
  ])('%s', async (_, parts, expected) => {
    write(...parts);
    expect(await found()).toBe(expected);
  });

  test('is the same wherever the file is cut for reading', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.constantFrom('{"r":1}', '{"r":22}', 'x', '', '"r"', 'x'.repeat(400_000), 'y'.repeat(1_048_570)), {
          maxLength: 8,
        }),
        async (lines) => {
          write(lines.join('\n'));
          const last = lines.map((line) => numberOf(Buffer.from(line))).findLast((value) => value !== null);
          expect(await found()).toBe(last ?? 'none');
        },
      ),
      { numRuns: 60 },
    );
  });

  test('is none where there is no file', async () => {
    expect(await found()).toBe('none');
  });
});
