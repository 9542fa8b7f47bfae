import { execa } from 'execa';
import type { CloneMethod } from '../jobs/job.ts';
import { type LineProgram, startLineProgram } from './line-program.ts';
import { createMutex } from './mutex.ts';

/** Copies clones with the program built from native/copytree.c, which runs as long as there is use for it. */
export interface TreeCopier {
  /**
   * Fills an empty directory with a copy of a clone that nobody changes meanwhile. One after the other, in the order of the
   * calls. Rejects with what went wrong, and with the signal's reason; by then nobody writes into the directory any more.
   */
  copy(from: string, to: string, signal: AbortSignal): Promise<void>;
  /**
   * Makes a clone that was used equal to one that nobody changes meanwhile: what nobody has touched since it was noted stays, all
   * else goes. No process may work in it. Rejects where it cannot be, or need not be: then it holds whatever it holds.
   */
  renew(from: string, to: string, noted: Noted, signal: AbortSignal): Promise<void>;
  /** Ends the program, and a copy under way with it. */
  close(): Promise<void>;
}

/** What is known of a clone from before it was used. */
export interface Noted {
  /** A file with its index, out of the reach of who used it. */
  readonly index: string;
  /** Lines, as native/renewal.h has them. */
  readonly notes: string;
}

export interface Copying {
  readonly method: CloneMethod;
  /** True if trees made in the directories keep away from the places of those removed lately. */
  readonly spread: boolean;
  /** Why git has to do it; null where it has not. */
  readonly weakness: string | null;
}

export interface CopierOptions {
  readonly file: string;
  readonly reflink: boolean;
  readonly threads: number;
  readonly lowPriority: boolean;
}

export const copierFile = new URL('../../native/copytree', import.meta.url).pathname;

/** It asks the kernel a handful of questions; only a hung disk takes this long. */
const prepareTimeoutMs = 5_000;
/** 60,000 files take seconds on a good disk, a minute on a bad one. What takes this long hangs. */
const copyTimeoutMs = 600_000;
const answer = /^copytree 2 (reflink|copy) (spread|packed)$/;
const asked = { env: {}, extendEnv: false, stdin: 'ignore', stderr: 'ignore', reject: false } as const;

/** Finds the best way that works for copies into the first of the directories, which are there. Never rejects. */
export async function prepareCopying(directories: readonly string[], file: string = copierFile): Promise<Copying> {
  const said = await execa(file, ['prepare', ...directories], { ...asked, timeout: prepareTimeoutMs });
  const [, method, where] = said.failed ? [] : (answer.exec(said.stdout) ?? []);
  if (method !== undefined) {
    return { method: method === 'reflink' ? 'reflink' : 'copy', spread: where === 'spread', weakness: null };
  }
  const why = said.failed ? said.shortMessage : `it says "${said.stdout}"`;
  const weakness = `the copier of clones does not work here (${why}); build it with native/build.sh`;
  return { method: 'git', spread: false, weakness };
}

export function createTreeCopier(options: CopierOptions): TreeCopier {
  const oneByOne = createMutex();
  let program: LineProgram | null = null;
  let closed = false;

  async function ask(texts: readonly string[], signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    if (closed) throw new Error('the copier is closed');
    program ??= startCopier(options);
    const mine = program;
    const timeout = AbortSignal.timeout(copyTimeoutMs);
    const said = await mine.ask(texts.map((text) => `${text}\0`).join(''), AbortSignal.any([signal, timeout]));
    if (said?.startsWith('ok ')) return;
    if (said === null && program === mine) program = null;
    signal.throwIfAborted();
    throw new Error(
      `the clone could not be copied: ${said ?? (timeout.aborted ? 'it took too long' : 'the copier ended')}`,
    );
  }

  return {
    copy: (from, to, signal) => oneByOne.run(() => ask([from, to, '', ''], signal), signal),
    renew: (from, to, { index, notes }, signal) => oneByOne.run(() => ask([from, to, index, notes], signal), signal),
    async close() {
      closed = true;
      await program?.end();
    },
  };
}

function startCopier({ file, reflink, threads, lowPriority }: CopierOptions): LineProgram {
  const settings = [`threads=${threads}`, `nice=${lowPriority ? 19 : 0}`, `reflink=${reflink ? 1 : 0}`];
  return startLineProgram(file, ['serve', ...settings]);
}
