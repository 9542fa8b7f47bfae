import { availableParallelism } from 'node:os';
import { type LineProgram, startLineProgram } from './line-program.ts';
import { createMutex } from './mutex.ts';
import { momentText } from './store-notes.ts';

/** Compares work trees with what was noted of them, with the program built from native/scantree.c. */
export interface TreeScanner {
  /**
   * What may differ in the work tree from the index, of which nothing was changed before the moment. Null where git has to
   * look for itself: much differs, or there is a doubt. Rejects with the signal's reason.
   */
  scan(wanted: Scan, signal: AbortSignal): Promise<Findings | null>;
  /** Ends the program, and a scan under way with it. */
  close(): Promise<void>;
}

export interface Scan {
  readonly index: string;
  readonly workTree: string;
  /** In nanoseconds since the epoch, by the clock of the file system. */
  readonly momentNs: bigint;
}

/** Paths are bytes, one character each. */
export interface IndexEntry {
  /** As a number: 0o100644 and the like. */
  readonly mode: number;
  /** In hexadecimal digits. */
  readonly id: string;
  readonly path: string;
}

export interface Findings {
  /** Entries that may have changed: times, sizes or owners are not what was noted. */
  readonly suspects: readonly IndexEntry[];
  /** What the index does not have; of a directory, nothing that is in it. */
  readonly others: readonly string[];
  /** An entry of each directory that holds some of the others. */
  readonly neighbours: readonly IndexEntry[];
}

export const scannerFile = new URL('../../native/scantree', import.meta.url).pathname;

/** More threads than this wait for each other in the kernel. */
const maxThreads = 8;
/** Failures one after the other: then it does not work here. */
const maxFailures = 3;

export function createTreeScanner(file: string = scannerFile): TreeScanner {
  const oneByOne = createMutex();
  let program: LineProgram | null = null;
  let failures = 0;
  let closed = false;

  async function scan({ index, workTree, momentNs }: Scan, signal: AbortSignal): Promise<Findings | null> {
    signal.throwIfAborted();
    if (closed || failures >= maxFailures) return null;
    program ??= startLineProgram(file, ['serve', `threads=${Math.min(availableParallelism(), maxThreads)}`]);
    const mine = program;
    const said = await mine.ask(`${index}\0${workTree}\0${momentText(momentNs)}\0`, signal);
    if (said !== null) {
      failures = 0;
      return readFindings(said);
    }
    if (program === mine) program = null;
    signal.throwIfAborted();
    failures += 1;
    return null;
  }

  return {
    scan: (wanted, signal) => oneByOne.run(() => scan(wanted, signal), signal),
    async close() {
      closed = true;
      await program?.end();
    },
  };
}

function readFindings(said: string): Findings | null {
  const [state, ...found] = said.split(' ');
  if (state !== 'ok') return null;
  const of = (kind: string) => found.filter((one) => one.startsWith(kind)).map((one) => one.slice(1));
  return { suspects: of('=').map(entryOf), others: of('+').map(textOf), neighbours: of('~').map(entryOf) };
}

function entryOf(text: string): IndexEntry {
  const [mode = '', id = '', path = ''] = text.split(':');
  return { mode: Number.parseInt(mode, 8), id, path: textOf(path) };
}

function textOf(hex: string): string {
  return Buffer.from(hex, 'hex').toString('latin1');
}
