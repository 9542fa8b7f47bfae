import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { createLineSplitter } from '../../src/process/lines.ts';

const chunkBytes = 16;

/** Feeds the text in pieces of the given sizes, over and over. */
function split(
  text: string,
  sizes: readonly number[],
  maxLineBytes: number,
  needles: readonly string[] = [],
): string[] {
  const splitter = createLineSplitter({ chunkBytes, maxLineBytes, needles: needles.map((n) => Buffer.from(n)) });
  const bytes = Buffer.from(text);
  const lines: string[] = [];
  for (let at = 0, turn = 0; at < bytes.length; turn += 1) {
    const count = Math.min(sizes[turn % sizes.length] ?? 1, bytes.length - at);
    bytes.copy(splitter.room(), 0, at, at + count);
    for (const line of splitter.take(count)) lines.push(line.toString());
    at += count;
  }
  for (const line of splitter.rest()) lines.push(line.toString());
  return lines;
}

function expected(text: string, maxLineBytes: number): string[] {
  const lines = text.split('\n');
  if (lines.at(-1) === '') lines.pop();
  return lines.filter((line) => Buffer.byteLength(line) <= maxLineBytes);
}

const texts = fc
  .array(fc.oneof(fc.string({ maxLength: 90 }), fc.constantFrom('', 'ab', 'xxabxx', 'cd', 'é漢🎉')), { maxLength: 30 })
  .map((parts) => parts.join('\n'));
const sizes = fc.array(fc.integer({ min: 1, max: chunkBytes }), { minLength: 1, maxLength: 5 });

describe('a stream of bytes', () => {
  test('becomes the same lines however it is cut', () => {
    fc.assert(
      fc.property(texts, sizes, (text, cuts) => {
        expect(split(text, cuts, 1000)).toEqual(expected(text, 1000));
      }),
    );
  });

  test('loses exactly the lines that are too long', () => {
    fc.assert(
      fc.property(texts, sizes, fc.integer({ min: 1, max: 60 }), (text, cuts, max) => {
        expect(split(text, cuts, max)).toEqual(expected(text, max));
      }),
    );
  });

  test('gives exactly the lines with a needle', () => {
    fc.assert(
      fc.property(texts, sizes, (text, cuts) => {
        const wanted = expected(text, 40).filter((line) => line.includes('ab') || line.includes('cd'));
        expect(split(text, cuts, 40, ['ab', 'cd'])).toEqual(wanted);
      }),
    );
  });

  test('costs a long line no more than its length', () => {
    // 64 MiB in chunks of 64 KiB: quadratic copying or searching would take minutes.
    const big = createLineSplitter({ chunkBytes: 65_536, maxLineBytes: 100_000_000, needles: [] });
    const chunk = Buffer.alloc(65_536, 'x');
    const start = performance.now();
    for (let i = 0; i < 1024; i += 1) {
      chunk.copy(big.room());
      expect([...big.take(chunk.length)]).toHaveLength(0);
    }
    expect([...big.rest()].map((line) => line.length)).toEqual([64 * 1024 * 1024]);
    expect(performance.now() - start).toBeLessThan(5_000);
  });
});
