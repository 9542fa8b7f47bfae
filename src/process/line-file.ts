import { readSync } from 'node:fs';
import { setImmediate as nextTurn } from 'node:timers/promises';

/** One line of a file, without its newline. */
export interface FileLine {
  /** Null where the line is longer than is kept. Valid until the next line is asked for. */
  readonly line: Buffer | null;
  readonly bytes: number;
}

/** Reads a growing file line by line, never past what its reader allows. */
export interface LineFile {
  /** The lines completed before byte `upTo`. Iterate to the end before the next call. Ends early when the signal aborts. */
  lines(upTo: number, signal: AbortSignal): AsyncGenerator<FileLine, void>;
  /** What follows the last newline read so far, as a line; null if nothing does. */
  rest(): FileLine | null;
}

/** One read per turn of the event loop: about 0.1 ms from the page cache, so nobody else waits. */
const chunkBytes = 256 * 1024;
const newline = 0x0a;

/** `fd` stays the caller's. Memory is bounded by `maxLineBytes` and one chunk, however slow the consumer is. */
export function createLineFile(fd: number, maxLineBytes: number): LineFile {
  const buffer = Buffer.allocUnsafeSlow(chunkBytes);
  let offset = 0;
  /** The beginning of a line whose end has not been read; dropped, but counted, once it is too long. */
  let pieces: Buffer[] = [];
  let pieceBytes = 0;

  const keep = (piece: Buffer): void => {
    pieceBytes += piece.length;
    // A copy: the buffer is used again.
    if (pieceBytes <= maxLineBytes) pieces.push(Buffer.from(piece));
    else pieces = [];
  };
  const complete = (last: Buffer): FileLine => {
    const bytes = pieceBytes + last.length;
    const line = bytes > maxLineBytes ? null : pieceBytes === 0 ? last : Buffer.concat([...pieces, last]);
    pieces = [];
    pieceBytes = 0;
    return { line, bytes };
  };

  return {
    async *lines(upTo, signal) {
      while (offset < upTo && !signal.aborted) {
        const count = readSync(fd, buffer, 0, Math.min(chunkBytes, upTo - offset), offset);
        // Somebody made the file shorter: it ends here.
        if (count === 0) return;
        offset += count;
        const chunk = buffer.subarray(0, count);
        let start = 0;
        for (let end = chunk.indexOf(newline); end !== -1; end = chunk.indexOf(newline, start)) {
          yield complete(chunk.subarray(start, end));
          start = end + 1;
        }
        if (start < count) keep(chunk.subarray(start));
        await nextTurn();
      }
    },
    rest: () => (pieceBytes === 0 ? null : complete(Buffer.alloc(0))),
  };
}
