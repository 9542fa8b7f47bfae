import { readFile, readlink } from 'node:fs/promises';
import { setTimeout as wait } from 'node:timers/promises';
import { limitOf, limitOfProcess } from './process-mark.ts';
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
 * what that started. A supervisor that lives is told to end what it runs, without grace. What leaves the session, empties its
 * environment, lowers its own limits and loses its parent is not found. Answers how many it killed. Never rejects.
 */
export async function killStrays(marks: StrayMarks): Promise<number> {
  const killed = new Set<number>();
  if (marks.session === null && marks.marks.length === 0) return 0;
  const wanted = {
    ...marks,
    entries: new Set(marks.marks),
    limits: new Set(marks.marks.map((mark) => `${limitOf(mark)}`)),
  };
  const deadline = performance.now() + giveUpMs;
  while (performance.now() < deadline) {
    const { strays, supervisors } = await findStrays(wanted);
    if (strays.length + supervisors.length === 0) break;
    for (const pid of supervisors) {
      send(pid, 'SIGUSR1');
      send(pid, 'SIGCONT');
    }
    for (const pid of strays) {
      killed.add(pid);
      send(pid, 'SIGKILL');
    }
    await wait(againMs);
  }
  return killed.size;
}

interface Wanted extends StrayMarks {
  readonly entries: ReadonlySet<string>;
  readonly limits: ReadonlySet<string>;
}

interface Strays {
  readonly strays: readonly number[];
  /** Of programs with these marks: they see to the rest themselves. */
  readonly supervisors: readonly number[];
}

async function findStrays(wanted: Wanted): Promise<Strays> {
  const all = (await livingProcesses()) ?? [];
  const found = new Set<number>();
  const supervisors = new Set<number>();
  for (const entry of all) {
    const kind = entry.pid === process.pid ? null : await kindOf(entry, wanted);
    if (kind !== null) (kind === 'stray' ? found : supervisors).add(entry.pid);
  }
  for (let before = -1; before !== found.size; ) {
    before = found.size;
    for (const { pid, parent } of all) if (found.has(parent)) found.add(pid);
  }
  return { strays: [...found], supervisors: [...supervisors].filter((pid) => !found.has(pid)) };
}

/** A supervisor has the environment of what it runs, and not the limit, which whatever the program starts has. */
async function kindOf({ pid, session }: ProcessEntry, wanted: Wanted): Promise<'stray' | 'supervisor' | null> {
  const limit = await limitOfProcess(pid);
  if (session === wanted.session || (limit !== null && wanted.limits.has(limit))) return 'stray';
  if (!(await carries(pid, wanted.entries))) return null;
  return (await isSupervisor(pid)) ? 'supervisor' : 'stray';
}

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

function send(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch {
    // It ended while we looked.
  }
}
