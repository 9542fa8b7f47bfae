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
  /** Ends the program, and a copy under way with it. */
  close(): Promise<void>;
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
const answer = /^copytree 1 (reflink|copy) (spread|packed)$/;
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

  async function copy(from: string, to: string, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    if (closed) throw new Error('the copier is closed');
    program ??= startCopier(options);
    const mine = program;
    const timeout = AbortSignal.timeout(copyTimeoutMs);
    const said = await mine.ask(`${from}\0${to}\0`, AbortSignal.any([signal, timeout]));
    if (said?.startsWith('ok ')) return;
    if (said === null && program === mine) program = null;
    signal.throwIfAborted();
    throw new Error(
      `the clone could not be copied: ${said ?? (timeout.aborted ? 'it took too long' : 'the copier ended')}`,
    );
  }

  return {
    copy: (from, to, signal) => oneByOne.run(() => copy(from, to, signal), signal),
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
