import { createHash } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import type { IndexEntry } from './tree-scanner.ts';

/** Of which git knows that the file is there, and has no content yet. */
const emptyBlob = 'e69de29bb2d1d6434b8b29ae775ad8c2e48c5391';
const fixedBytes = 62;
const modeAt = 24;
const idAt = 40;
const flagsAt = 60;
const extended = 0x4000;
const intendedToAdd = 0x2000;
const maxLengthInFlags = 0xfff;

/**
 * Writes an index of git with some entries and with `added` paths that are to come. No entry says what its file was like when
 * it was seen last, so git compares each by its content.
 */
export async function writeSmallIndex(
  file: string,
  entries: readonly IndexEntry[],
  added: readonly string[],
): Promise<void> {
  const all = new Map(entries.map((entry) => [entry.path, bytesOf(entry, false)]));
  for (const path of added) all.set(path, bytesOf({ mode: 0o100644, id: emptyBlob, path }, true));
  // One character is one byte, so this is the order of bytes.
  const sorted = [...all].toSorted(([a], [b]) => (a < b ? -1 : 1)).map(([, bytes]) => bytes);
  const head = Buffer.alloc(12);
  head.write('DIRC');
  head.writeUInt32BE(added.length > 0 ? 3 : 2, 4);
  head.writeUInt32BE(sorted.length, 8);
  const content = Buffer.concat([head, ...sorted]);
  const hash = createHash('sha1').update(content).digest();
  await writeFile(file, Buffer.concat([content, hash]), { mode: 0o600 });
}

function bytesOf({ mode, id, path }: IndexEntry, isToCome: boolean): Buffer {
  const start = fixedBytes + (isToCome ? 2 : 0);
  // Ended by one to eight NULs.
  const bytes = Buffer.alloc((start + path.length + 8) & ~7);
  bytes.writeUInt32BE(mode, modeAt);
  bytes.write(id, idAt, 'hex');
  bytes.writeUInt16BE(Math.min(path.length, maxLengthInFlags) | (isToCome ? extended : 0), flagsAt);
  if (isToCome) bytes.writeUInt16BE(intendedToAdd, fixedBytes);
  bytes.write(path, start, 'latin1');
  return bytes;
}
