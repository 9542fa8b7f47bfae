import { readFile, readlink } from 'node:fs/promises';
import { setTimeout as wait } from 'node:timers/promises';
import { livingProcesses, type ProcessEntry } from './process-table.ts';

export interface StrayMarks {
  /** The session that the program led, if it ran. */
  readonly session: number | null;
  /** Entries of the environment, `NAME=value`: a program was started with one of them, and nobody else was. */
  readonly marks: readonly string[];
}

/** Killed processes go within milliseconds; what forks faster than a scan sees is not found by one at all. */
const giveUpMs = 2_000;
const againMs = 5;

/**
 * The last net, for when a supervisor was killed with all its helpers: kills what still carries the program's marks, and
 * what that started. What left the session, emptied its environment and lost its parent is not found. Answers how many
 * it killed. Never rejects.
 */
export async function killStrays(marks: StrayMarks): Promise<number> {
  const killed = new Set<number>();
  if (marks.session === null && marks.marks.length === 0) return 0;
  const deadline = performance.now() + giveUpMs;
  while (performance.now() < deadline) {
    const strays = await findStrays(marks);
    if (strays.length === 0) break;
    for (const { pid } of strays) {
      killed.add(pid);
      kill(pid);
    }
    await wait(againMs);
  }
  return killed.size;
}

async function findStrays({ session, marks }: StrayMarks): Promise<readonly ProcessEntry[]> {
  const all = (await livingProcesses()) ?? [];
  const known = new Set(marks);
  const found = new Set<ProcessEntry>();
  for (const entry of all) {
    if (entry.pid === process.pid || (await isSupervisor(entry.pid))) continue;
    if (entry.session === session || (await carries(entry.pid, known))) found.add(entry);
  }
  for (let before = -1; before !== found.size; ) {
    before = found.size;
    const pids = new Set([...found].map(({ pid }) => pid));
    for (const entry of all) if (pids.has(entry.parent)) found.add(entry);
  }
  return [...found];
}

/**
 * A supervisor has the environment of what it runs. One that lives is left alone: when its program is killed, it sees to the
 * rest, also to what carries no mark.
 */
async function isSupervisor(pid: number): Promise<boolean> {
  try {
    return (await readlink(`/proc/${pid}/exe`)).includes('/native/supervise');
  } catch {
    // It ended, or belongs to another user.
    return false;
  }
}

async function carries(pid: number, marks: ReadonlySet<string>): Promise<boolean> {
  try {
    return (await readFile(`/proc/${pid}/environ`, 'utf8')).split('\0').some((entry) => marks.has(entry));
  } catch {
    // It ended, or belongs to another user.
    return false;
  }
}

function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // It ended while we looked.
  }
}
