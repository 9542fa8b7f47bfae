import { createHash } from 'node:crypto';
import { lstat, readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

/** Of an entry: times, numbers and size, then the id of 20 bytes and the flags. */
const idAt = 40;
const hashLength = 20;
const flagsAt = idAt + hashLength;
const headerLength = 12;
const extendedFlag = 0x4000;

/**
 * Writes into the index of a clone what `lstat` says of these files, as git does when it has written them itself: it then takes
 * them for unchanged and reads none of them. Rejects if the index has another form than git writes for us.
 */
export async function noteInIndex(clone: string, paths: ReadonlySet<string>): Promise<void> {
  const file = join(clone, '.git', 'index');
  const index = await readFile(file);
  for (const { at, path } of entriesOf(index)) if (paths.has(path)) await noteEntry(index, at, join(clone, path));
  const end = index.length - hashLength;
  createHash('sha1').update(index.subarray(0, end)).digest().copy(index, end);
  await writeFile(`${file}.new`, index, { mode: 0o644 });
  await rename(`${file}.new`, file);
}

/** Paths are bytes, one character each. */
function* entriesOf(index: Buffer): Generator<{ readonly at: number; readonly path: string }> {
  const version = index.readUInt32BE(4);
  if (index.toString('latin1', 0, 4) !== 'DIRC' || (version !== 2 && version !== 3)) {
    throw new Error('the index of the clone is of another form');
  }
  const count = index.readUInt32BE(8);
  for (let n = 0, at = headerLength; n < count; n += 1) {
    const start = at + flagsAt + ((index.readUInt16BE(at + flagsAt) & extendedFlag) === 0 ? 2 : 4);
    const end = index.indexOf(0, start);
    if (end === -1) throw new Error('the index of the clone is cut off');
    yield { at, path: index.toString('latin1', start, end) };
    // Ended by one to eight NULs, so that each has a length of whole eights.
    at += Math.floor((end - at + 8) / 8) * 8;
  }
}

async function noteEntry(index: Buffer, at: number, path: string): Promise<void> {
  const stats = await lstat(Buffer.from(path, 'latin1'), { bigint: true });
  const second = 1_000_000_000n;
  const before = [stats.ctimeNs / second, stats.ctimeNs % second, stats.mtimeNs / second, stats.mtimeNs % second];
  const values = [...before, stats.dev, stats.ino, null, stats.uid, stats.gid, stats.size];
  for (const [n, value] of values.entries()) {
    // The mode stays: git keeps less of it than the file system.
    if (value !== null) index.writeUInt32BE(Number(BigInt.asUintN(32, value)), at + 4 * n);
  }
}
