import { closeSync, readSync } from 'node:fs';
import { setImmediate as nextTurn, setTimeout as wait } from 'node:timers/promises';
import { createLineSplitter } from './lines.ts';
import { openOwnFile } from './own-file.ts';

export interface TailOptions {
  /** Only lines that hold one of these are wanted; absent = all. */
  readonly needles?: readonly Buffer[];
  /** Longer lines are left out. */
  readonly maxLineBytes: number;
  /** True once nobody writes to the file any more: all that it will ever hold is in it. */
  readonly ended: () => boolean;
}

/** One read per turn of the event loop: about 0.1 ms from the page cache, so nobody else waits. */
const chunkBytes = 256 * 1024;
/** A growing file is looked at this often: below what a reader of streamed text notices, at 0.1 % of a core. */
const pollMs = 15;

/**
 * The lines of a file that is still being written, from its beginning, until the writer has ended and all was read; waits
 * for the file to appear. Nothing is read before the consumer asks, so a slow one costs no memory. A line is valid until
 * the next one is asked for. Ends early, quietly, when the signal aborts.
 */
export async function* tailLines(
  path: string,
  options: TailOptions,
  signal: AbortSignal,
): AsyncGenerator<Buffer, void> {
  const fd = await openWhenThere(path, options.ended, signal);
  if (fd === null) return;
  try {
    const lines = createLineSplitter({ needles: [], ...options, chunkBytes });
    while (!signal.aborted) {
      // Asked before the read: what was written before the end is then certainly seen.
      const ended = options.ended();
      const count = readSync(fd, lines.room(), 0, chunkBytes, null);
      yield* lines.take(count);
      if (ended && count === 0) {
        yield* lines.rest();
        return;
      }
      await (ended || count === chunkBytes ? nextTurn() : wait(pollMs));
    }
  } finally {
    closeSync(fd);
  }
}

async function openWhenThere(path: string, ended: () => boolean, signal: AbortSignal): Promise<number | null> {
  while (!signal.aborted) {
    const last = ended();
    const fd = openOwnFile(path);
    if (fd !== null || last) return fd;
    await wait(pollMs);
  }
  return null;
}
