import { readdir, readFile } from 'node:fs/promises';
import { setTimeout as wait } from 'node:timers/promises';

/** The processes that one command became. */
export interface ProcessTree {
  /** Sends the signal to all of them that are known. Safe to call when none is left. */
  signal(signal: NodeJS.Signals): void;
  /** Kills what is left and resolves when it is gone. Called once, after the first process has ended. */
  end(): Promise<void>;
}

/** How a tree of processes is held together so that it can be ended as one. */
export interface Containment {
  /** `pid` was just started as the leader of a session of its own. */
  tree(pid: number): ProcessTree;
}

/** Killed processes go within milliseconds; what takes longer hangs in the kernel, and nothing ends it. */
const goneWithinMs = 2_000;
const goneCheckMs = 5;

/** Contains a tree by its process group. A process that makes a group or session of its own escapes. */
export function createGroupContainment(): Containment {
  return {
    tree(pid) {
      return {
        signal: (signal) => void signalGroup(pid, signal),
        end: () => endGroup(pid),
      };
    },
  };
}

async function endGroup(pid: number): Promise<void> {
  // The group's id is the leader's, and the kernel gives it to nobody else while the group has a member.
  const deadline = performance.now() + goneWithinMs;
  while (signalGroup(pid, 'SIGKILL') && performance.now() < deadline) {
    await wait(goneCheckMs);
    if (!(await hasLivingMember(pid))) return;
  }
}

/** In a container whose first process collects no orphans, a dead process stays a member of its group for ever. */
async function hasLivingMember(group: number): Promise<boolean> {
  // Where there is no /proc nothing is known, and the deadline decides.
  const names = await readdir('/proc').catch(() => null);
  if (names === null) return true;
  const pids = names.filter((name) => /^\d+$/.test(name));
  const alive = await Promise.all(pids.map((pid) => isLivingMember(pid, group)));
  return alive.includes(true);
}

async function isLivingMember(pid: string, group: number): Promise<boolean> {
  try {
    // "pid (name) state ppid pgrp ...": the name may hold anything, parentheses too.
    const stat = await readFile(`/proc/${pid}/stat`, 'latin1');
    const [state, , pgrp] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return Number(pgrp) === group && state !== 'Z' && state !== 'X';
  } catch {
    // It ended while we looked.
    return false;
  }
}

/** True if the group has a member. */
function signalGroup(pid: number, signal: NodeJS.Signals): boolean {
  try {
    return process.kill(-pid, signal);
  } catch {
    // ESRCH: nobody is left. EPERM: what is left runs as another user, and nothing more can be done from here.
    return false;
  }
}
