import { readdir, readFile } from 'node:fs/promises';

export interface ProcessEntry {
  readonly pid: number;
  readonly state: string;
  readonly parent: number;
  readonly group: number;
  readonly session: number;
}

/** Every process that is not dead; null where there is no /proc. */
export async function livingProcesses(): Promise<readonly ProcessEntry[] | null> {
  const names = await readdir('/proc').catch(() => null);
  if (names === null) return null;
  const pids = names.filter((name) => /^\d+$/.test(name));
  const entries = await Promise.all(pids.map(readEntry));
  return entries.filter((entry): entry is ProcessEntry => entry !== null && entry.state !== 'Z' && entry.state !== 'X');
}

async function readEntry(pid: string): Promise<ProcessEntry | null> {
  try {
    // "pid (name) state ppid pgrp session ...": the name may hold anything, parentheses too.
    const stat = await readFile(`/proc/${pid}/stat`, 'latin1');
    const [state = '', parent, group, session] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return { pid: Number(pid), state, parent: Number(parent), group: Number(group), session: Number(session) };
  } catch {
    // It ended while we looked.
    return null;
  }
}
