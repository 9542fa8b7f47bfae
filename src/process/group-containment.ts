import { fstatSync } from 'node:fs';
import { setTimeout as wait } from 'node:timers/promises';
import { execa } from 'execa';
import {
  type ContainedEnd,
  type Containment,
  type ContainmentReport,
  type Launch,
  neverRan,
  type Streams,
  termShareOfGrace,
} from './containment.ts';
import { livingProcesses } from './process-table.ts';

/** Killed processes go within milliseconds; what takes longer hangs in the kernel, and nothing ends it. */
const goneWithinMs = 2_000;
const goneCheckMs = 5;
/** Often enough to bound what a flood writes, and next to free: two calls that read nothing. */
const outputCheckMs = 250;

const report: ContainmentReport = { level: 'group', killed: null, survivors: null, peakRssBytes: null, cpuMs: null };

/** Contains by the process group: needs nothing, and a process that makes a group or session of its own escapes. */
export function createGroupContainment(): Containment {
  return {
    level: 'group',
    start(launch) {
      const child = spawn(launch);
      const { pid } = child;
      if (pid === undefined) return { end() {}, hurry() {}, ended: child.then(notSpawned) };
      const watch = watchLimits(launch, pid);
      const run = async (): Promise<ContainedEnd> => {
        try {
          launch.onSpawn?.(pid);
          const { exitCode, signal } = await child;
          const endedBy = watch.endedBy();
          return {
            ...{ exitCode: exitCode ?? null, signal: signal ?? null },
            ...{ endedBy, spawnError: null, containment: report },
          };
        } finally {
          watch.stop();
          await endGroup(pid);
        }
      };
      return { end: watch.end, hurry: watch.hurry, ended: run() };
    },
  };
}

/** The child holds the only other copies of the descriptors; ours are kept to look at the size of what it writes. */
function spawn({ command: { file, args, env, cwd }, streams: { stdin, stdout, stderr } }: Launch) {
  return execa(file, args, {
    cwd,
    env,
    extendEnv: false,
    stdio: [descriptor(stdin), descriptor(stdout), descriptor(stderr)],
    detached: true,
    cleanup: false,
    buffer: false,
    reject: false,
  });
}

/** execa takes any descriptor; its types know the numbers 3 to 9 alone. */
function descriptor(fd: number): 3 {
  return fd as 3;
}

function notSpawned({ cause, originalMessage }: Awaited<ReturnType<typeof spawn>>): ContainedEnd {
  return { ...neverRan, spawnError: cause instanceof Error ? cause : new Error(originalMessage) };
}

/** Ends the group at the first limit that is hit, and remembers which one that was. */
function watchLimits({ limits, streams }: Launch, pid: number) {
  let endedBy: string | null = null;
  let { graceMs } = limits;
  let ladder: readonly NodeJS.Timeout[] = [];
  let size = 0;
  let grewAt = performance.now();
  const end = (reason: string): void => {
    if (endedBy !== null) return;
    endedBy = reason;
    ladder = startLadder(pid, graceMs);
  };
  const overflows = (): boolean => sizeOf(streams) > limits.maxOutputBytes;
  const checkOutput = (): void => {
    const before = size;
    size = sizeOf(streams);
    if (size !== before) grewAt = performance.now();
    if (size > limits.maxOutputBytes) end('output_limit');
    if (limits.idleMs !== null && performance.now() - grewAt >= limits.idleMs) end('idle');
  };
  const deadline = setTimeout(end, limits.timeoutMs, 'timeout');
  const outputCheck = setInterval(checkOutput, outputCheckMs);
  return {
    end,
    hurry(): void {
      graceMs = 0;
      if (endedBy !== null) signalGroup(pid, 'SIGKILL');
    },
    /** Asked after the end: a short flood must not depend on when we looked. */
    endedBy: (): string | null => endedBy ?? (overflows() ? 'output_limit' : null),
    stop(): void {
      // Nothing after the end may change why it ended, or signal a group that is gone.
      endedBy ??= '';
      for (const timer of [deadline, outputCheck, ...ladder]) clearTimeout(timer);
    },
  };
}

function startLadder(pid: number, graceMs: number): readonly NodeJS.Timeout[] {
  if (graceMs === 0) {
    signalGroup(pid, 'SIGKILL');
    return [];
  }
  signalGroup(pid, 'SIGINT');
  return [
    setTimeout(() => signalGroup(pid, 'SIGTERM'), graceMs * termShareOfGrace),
    setTimeout(() => signalGroup(pid, 'SIGKILL'), graceMs),
  ];
}

function sizeOf({ stdout, stderr }: Streams): number {
  return fstatSync(stdout).size + fstatSync(stderr).size;
}

async function endGroup(pid: number): Promise<void> {
  // The group's id is the leader's, and the kernel gives it to nobody else while the group has a member.
  const deadline = performance.now() + goneWithinMs;
  while (signalGroup(pid, 'SIGKILL') && performance.now() < deadline) {
    await wait(goneCheckMs);
    // In a container whose first process collects no orphans, a dead process stays a member of its group for ever. Where
    // there is no /proc nothing is known, and the deadline decides.
    const processes = await livingProcesses();
    if (processes?.every(({ group }) => group !== pid)) return;
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
