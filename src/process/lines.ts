/** Cuts a stream of bytes into lines. Memory is bounded by the longest line allowed, time by the bytes. */
export interface LineSplitter {
  /** Where the next bytes go: at least `chunkBytes` of room. */
  room(): Buffer;
  /**
   * The lines that the first `count` bytes of the room completed, without their newline. Must be iterated to its end before
   * the next call; a line is valid until the next one is asked for, as the buffer is used again.
   */
  take(count: number): Iterable<Buffer>;
  /** The last line, if no newline ended it. */
  rest(): Iterable<Buffer>;
}

export interface LineOptions {
  readonly chunkBytes: number;
  /** Longer lines are left out. */
  readonly maxLineBytes: number;
  /** Only lines that hold one of these are wanted; empty = all. The others are passed over without being cut. */
  readonly needles: readonly Buffer[];
}

const newline = 0x0a;

export function createLineSplitter({ chunkBytes, maxLineBytes, needles }: LineOptions): LineSplitter {
  let buffer = Buffer.allocUnsafeSlow(2 * chunkBytes);
  /** The buffer starts with this many bytes of a line whose end has not come. */
  let used = 0;
  /** In the middle of a line that is too long. */
  let skipping = false;

  function* wanted(region: Buffer): Iterable<Buffer> {
    for (const line of needles.length === 0 ? allLines(region) : linesWith(region, needles)) {
      if (line.length <= maxLineBytes) yield line;
    }
  }

  return {
    room() {
      const size = roomySize(buffer.length, used, chunkBytes, maxLineBytes);
      if (size !== buffer.length) {
        const next = Buffer.allocUnsafeSlow(size);
        buffer.copy(next, 0, 0, used);
        buffer = next;
      }
      return buffer.subarray(used, used + chunkBytes);
    },
    *take(count) {
      const before = used;
      used += count;
      // Only the new bytes are searched, so that a long line costs no more than a short one.
      const last = buffer.subarray(before, used).lastIndexOf(newline);
      if (last === -1) {
        skipping ||= used > maxLineBytes;
        if (skipping) used = 0;
        return;
      }
      const start = skipping ? buffer.indexOf(newline, before) + 1 : 0;
      const end = before + last + 1;
      skipping = false;
      yield* wanted(buffer.subarray(start, end));
      buffer.copyWithin(0, end, used);
      used -= end;
    },
    *rest() {
      if (used === 0 || skipping) return;
      const line = Buffer.concat([buffer.subarray(0, used), Buffer.of(newline)]);
      used = 0;
      yield* wanted(line);
    },
  };
}

/** Doubles for a long line, so that copying stays linear, and lets go of the space after it. */
function roomySize(size: number, used: number, chunkBytes: number, maxLineBytes: number): number {
  if (used < chunkBytes && size > 4 * chunkBytes) return 2 * chunkBytes;
  let next = size;
  while (next - used < chunkBytes) next *= 2;
  return Math.min(next, Math.max(size, maxLineBytes + chunkBytes));
}

/** `region` holds whole lines, the last newline included. */
function* allLines(region: Buffer): Iterable<Buffer> {
  for (let start = 0; start < region.length; ) {
    const end = region.indexOf(newline, start);
    yield region.subarray(start, end);
    start = end + 1;
  }
}

/** As `allLines`, jumping from needle to needle by native search: what lies between costs next to nothing. */
function* linesWith(region: Buffer, needles: readonly Buffer[]): Iterable<Buffer> {
  const next = needles.map(() => -1);
  for (let start = 0; start < region.length; ) {
    let hit = Number.POSITIVE_INFINITY;
    for (const [i, needle] of needles.entries()) {
      let at = next[i] ?? -1;
      if (at < start) {
        const found = region.indexOf(needle, start);
        at = found === -1 ? Number.POSITIVE_INFINITY : found;
        next[i] = at;
      }
      hit = Math.min(hit, at);
    }
    if (hit === Number.POSITIVE_INFINITY) return;
    const end = region.indexOf(newline, hit);
    yield region.subarray(region.lastIndexOf(newline, hit) + 1, end);
    start = end + 1;
  }
}
