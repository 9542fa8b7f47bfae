import { constants, type FileHandle, open } from 'node:fs/promises';

/** Large enough that the number of reads does not matter, small enough that searching one stalls nobody. */
const chunkBytes = 1024 * 1024;
const newline = 0x0a;

/** The last `maxBytes` of a file as text, invalid UTF-8 as U+FFFD; empty if there is no such file. */
export async function readTail(path: string, maxBytes: number): Promise<string> {
  return await withFile(path, '', async (file, size) => {
    const tail = await readAt(file, Math.max(0, size - maxBytes), Math.min(size, maxBytes));
    return tail.subarray(size > maxBytes ? characterStart(tail) : 0).toString('utf8');
  });
}

export interface FindLimits {
  /** Only lines that hold this are looked at. */
  readonly needle: Buffer;
  readonly maxLineBytes: number;
  /** How far from its end the file is searched. */
  readonly maxLookBackBytes: number;
}

export type Found<T> =
  | { readonly outcome: 'found'; readonly line: Buffer; readonly value: T }
  /** A line that holds the needle is longer than allowed: whether it was the one cannot be told. */
  | { readonly outcome: 'too_long' }
  | { readonly outcome: 'none' };

/** The last line of a file that `read` makes something of. Reads backwards, so what comes before it costs nothing. */
export async function findLastLine<T>(
  path: string,
  read: (line: Buffer) => T | null,
  limits: FindLimits,
): Promise<Found<T>> {
  return await withFile<Found<T>>(path, { outcome: 'none' }, async (file, size) => {
    const first = Math.max(0, size - limits.maxLookBackBytes);
    const ending = createLineEnding(limits);
    for (let end = size; end > first; ) {
      const start = Math.max(first, end - chunkBytes);
      const chunk = await readAt(file, start, end - start);
      for (const line of linesFromEnd(chunk, ending, limits.needle)) {
        if (line === 'too_long') return { outcome: 'too_long' };
        const value = read(line);
        if (value !== null) return { outcome: 'found', line, value };
      }
      end = start;
    }
    // What is left has its beginning in the file only if the search came that far.
    const line = first === 0 ? ending.complete(Buffer.alloc(0)) : null;
    if (line === null) return { outcome: 'none' };
    if (line === 'too_long') return { outcome: 'too_long' };
    const value = read(line);
    return value === null ? { outcome: 'none' } : { outcome: 'found', line, value };
  });
}

/** The end of a line whose beginning lies in a part of the file not read yet, piece by piece. */
interface LineEnding {
  /** Puts a piece before those that are there. */
  prepend(piece: Buffer): void;
  /** The line that starts with `piece`, if it holds the needle; then starts anew. */
  complete(piece: Buffer): Buffer | 'too_long' | null;
}

function createLineEnding({ needle, maxLineBytes }: FindLimits): LineEnding {
  let pieces: Buffer[] = [];
  let length = 0;
  /** Whether a piece that is no longer kept held the needle. */
  let needleSeen = false;
  const prepend = (piece: Buffer): void => {
    length += piece.length;
    pieces.push(piece);
    if (length <= maxLineBytes) return;
    needleSeen ||= pieces.some((kept) => kept.includes(needle));
    pieces = [];
  };
  return {
    prepend,
    complete(piece) {
      prepend(piece);
      const whole = length <= maxLineBytes ? Buffer.concat(pieces.reverse()) : null;
      const line = whole === null ? (needleSeen ? 'too_long' : null) : whole.includes(needle) ? whole : null;
      pieces = [];
      length = 0;
      needleSeen = false;
      return line;
    },
  };
}

/** The lines with the needle that have their beginning in this chunk, the last one first. */
function* linesFromEnd(chunk: Buffer, ending: LineEnding, needle: Buffer): Iterable<Buffer | 'too_long'> {
  const first = chunk.indexOf(newline);
  if (first === -1) {
    ending.prepend(chunk);
    return;
  }
  let end = chunk.lastIndexOf(newline);
  const last = ending.complete(chunk.subarray(end + 1));
  if (last !== null) yield last;
  ending.prepend(chunk.subarray(0, first));
  while (end > first) {
    const hit = chunk.subarray(first + 1, end).lastIndexOf(needle);
    if (hit === -1) return;
    const at = first + 1 + hit;
    const start = chunk.lastIndexOf(newline, at) + 1;
    yield chunk.subarray(start, chunk.indexOf(newline, at));
    end = start - 1;
  }
}

/** Where the first whole UTF-8 character starts: a cut may have gone through one. */
function characterStart(bytes: Buffer): number {
  let start = 0;
  while (start < 3 && ((bytes[start] ?? 0) & 0xc0) === 0x80) start += 1;
  return start;
}

async function withFile<T>(path: string, absent: T, use: (file: FileHandle, size: number) => Promise<T>): Promise<T> {
  const file = await openFile(path);
  if (file === null) return absent;
  try {
    const stat = await file.stat();
    return stat.isFile() ? await use(file, stat.size) : absent;
  } finally {
    await file.close();
  }
}

async function openFile(path: string): Promise<FileHandle | null> {
  try {
    return await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  } catch (error) {
    // A program may do to its log what it likes: one that is gone, closed to us or a link is as good as empty.
    const code = error instanceof Error && 'code' in error ? error.code : null;
    if (code === 'ENOENT' || code === 'EACCES' || code === 'ELOOP') return null;
    throw error;
  }
}

/** Shorter than asked only if the file has shrunk. */
async function readAt(file: FileHandle, position: number, length: number): Promise<Buffer> {
  const buffer = Buffer.allocUnsafeSlow(length);
  let count = 0;
  while (count < length) {
    const { bytesRead } = await file.read(buffer, count, length - count, position + count);
    if (bytesRead === 0) break;
    count += bytesRead;
  }
  return buffer.subarray(0, count);
}
