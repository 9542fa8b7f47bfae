import { readdir, readFile } from 'node:fs/promises';
import { setTimeout as wait } from 'node:timers/promises';
import { isSupervisor } from './strays.ts';

/** Killed processes go within milliseconds; what takes longer hangs in the kernel, and nothing ends it. */
const goneWithinMs = 2_000;
const goneCheckMs = 5;

/**
 * Kills every process that was started with `variable` set to one of the values, and what these start meanwhile; never this
 * one. Resolves when none is left, or after two seconds, and answers how many there were. Never rejects. Without /proc, and
 * for processes of other users, nothing is known and nothing is done.
 */
export async function endMarked(variable: string, values: readonly string[]): Promise<number> {
  const marks = new Set(values.map((value) => `${variable}=${value}`));
  if (marks.size === 0) return 0;
  const found = new Set<number>();
  const deadline = performance.now() + goneWithinMs;
  for (;;) {
    const pids = await markedProcesses(marks);
    if (pids.length === 0 || performance.now() > deadline) return found.size;
    for (const pid of pids) {
      found.add(pid);
      kill(pid);
    }
    await wait(goneCheckMs);
  }
}

async function markedProcesses(marks: ReadonlySet<string>): Promise<readonly number[]> {
  const names = await readdir('/proc').catch(() => []);
  const pids = names.filter((name) => /^\d+$/.test(name)).map(Number);
  const marked = await Promise.all(pids.map((pid) => isMarked(pid, marks)));
  return pids.filter((pid, index) => marked[index] === true && pid !== process.pid);
}

/** The environment that it was started with; a dead process that nobody collected has none. */
async function isMarked(pid: number, marks: ReadonlySet<string>): Promise<boolean> {
  try {
    const environment = await readFile(`/proc/${pid}/environ`, 'utf8');
    return environment.split('\0').some((entry) => marks.has(entry)) && !(await isSupervisor(pid));
  } catch {
    // It ended while we looked, or it belongs to another user.
    return false;
  }
}

function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // It ended by itself a moment ago.
  }
}
