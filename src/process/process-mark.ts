import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';

/**
 * A mark that a program does not lose by emptying its environment: a limit of resources is handed on by every process to what it
 * starts, and the one on real-time CPU does nothing to programs that are not scheduled so. The mark's hash becomes that limit, in
 * microseconds: a hundred thousand years, and nobody else's.
 */
export function limitOf(mark: string): bigint {
  return (createHash('sha256').update(mark).digest().readBigUInt64BE() | highestBit) & positive;
}

const highestBit = 1n << 62n;
/** Signed in C. */
const positive = (1n << 63n) - 1n;

/** The limit that a process has, as text; null where it has none, is gone, or the kernel does not tell. */
export async function limitOfProcess(pid: number): Promise<string | null> {
  try {
    const limits = await readFile(`/proc/${pid}/limits`, 'utf8');
    return /^Max realtime timeout +(\d+)/m.exec(limits)?.[1] ?? null;
  } catch {
    // It ended.
    return null;
  }
}
