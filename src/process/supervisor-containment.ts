import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { Socket } from 'node:net';
import { adoptProcess, canAdopt } from './adopted-process.ts';
import {
  type ContainedEnd,
  type Containment,
  type Launch,
  neverRan,
  type Streams,
  supervisionLost,
  termShareOfGrace,
  type WaitingLaunch,
  type WaitingProcess,
} from './containment.ts';
import { limitOf } from './process-mark.ts';
import { killStrays } from './strays.ts';
import { EndSchema, endOf, StartSchema } from './supervisor-lines.ts';

export interface SupervisorOptions {
  /** The program built from native/supervise.c. */
  readonly file: string;
  /** A service that says nothing for this long counts as dead, and everything it runs is killed. */
  readonly deadManMs?: number;
  /** How long past its own limits a supervisor may be silent before it is taken for stopped. */
  readonly slackMs?: number;
}

/** Far longer than any stall of a healthy event loop: ending every job is dear. */
const defaultDeadManMs = 20_000;
const beatMs = 1_000;
/** Above the time that the supervisor allows itself for a sweep (10 s), so that it reports and is not interrupted. */
const defaultSlackMs = 15_000;
/** A day is the longest timeout; Node's timers end at 24.8. */
const maxTimerMs = 2 ** 31 - 1;
const continueMs = 1_000;

/** No file of a coding job is that large: a runaway is stopped before the disk is full. */
const maxFileBytes = 64 * 1024 ** 3;
/** Node hands its own on, which can be a million; some programs close each of them at their start. */
const maxOpenFiles = 65_536;
/** The service answers first when the processors are taken: an agent's share is a tenth of its own, where both want all. */
const niceness = 10;

/** Contains by a supervisor per program, which ends every descendant at every end: see native/supervise.c. */
export function createSupervisorContainment(options: SupervisorOptions): Containment {
  return {
    level: 'supervisor',
    start: (launch) => start(options, launch),
    startWaiting: (launch) => start(options, { ...launch, survives: false }),
    adoption: {
      isPossible: (files) => canAdopt(options.file, files),
      take: (files) => adoptProcess(options.file, files),
    },
  };
}

type AnyLaunch = Omit<Launch, 'streams'> & { readonly streams: WaitingLaunch['streams'] & Partial<Streams> };

function start(options: SupervisorOptions, launch: AnyLaunch): WaitingProcess {
  const { command, streams, mark, limits } = launch;
  const waits = streams.stdin === undefined;
  const child = spawn(options.file, [...(waits ? ['waits=1'] : []), ...argumentsOf(options, launch)], {
    cwd: '/',
    env: command.env,
    stdio: [streams.stdin ?? 'pipe', streams.stdout, streams.stderr, 'pipe'],
    detached: true,
  });
  // It ended before it had read all: how, its supervisor tells.
  child.stdin?.on('error', () => {});
  const control = child.stdio[3];
  if (child.pid === undefined || !(control instanceof Socket))
    return { begin() {}, end() {}, hurry() {}, ended: notSpawned(child) };

  let reason: string | null = null;
  const lines = readLines(control, (line) => {
    const started = StartSchema.safeParse(line);
    if (started.success) launch.onSpawn?.(started.data.pid);
  });
  const backstop = createBackstop(options, child, lines);
  if (!waits) backstop.arm(limits.timeoutMs + limits.graceMs);
  const say = (byte: string): void => {
    if (control.writable) control.write(byte);
  };
  const beat = setInterval(say, beatMs, 'b');
  const closed = new Promise((resolve) => control.once('close', resolve));
  const run = async (): Promise<ContainedEnd> => {
    await Promise.all([once(child, 'exit'), closed]);
    clearInterval(beat);
    backstop.stop();
    const end = EndSchema.safeParse(lines.at(-1));
    if (end.success) return endOf(end.data, command.file, reason);
    // Guard and keeper were killed together, so nobody swept.
    const program = StartSchema.safeParse(lines.at(0));
    const killed = await killStrays({ session: program.data?.pid ?? null, marks: mark === undefined ? [] : [mark] });
    const unknown = { level: 'supervisor', survivors: null, peakRssBytes: null, cpuMs: null } as const;
    return { ...neverRan, endedBy: supervisionLost, containment: { ...unknown, killed } };
  };
  return {
    begin(input) {
      say('g');
      child.stdin?.end(input);
      backstop.arm(limits.timeoutMs + limits.graceMs);
    },
    end(why) {
      if (reason !== null) return;
      reason = why;
      say('e');
      backstop.arm(limits.graceMs);
    },
    hurry: () => say('h'),
    ended: run(),
  };
}

function argumentsOf({ deadManMs }: SupervisorOptions, launch: AnyLaunch): readonly string[] {
  const { command, limits, recordFile, exitFile, depth, survives, mark } = launch;
  const settings = {
    control: 3,
    cwd: command.cwd,
    'dead-man-ms': deadManMs ?? defaultDeadManMs,
    'timeout-ms': limits.timeoutMs,
    'idle-ms': limits.idleMs ?? 0,
    'output-bytes': limits.maxOutputBytes,
    'term-ms': Math.round(limits.graceMs * termShareOfGrace),
    'kill-ms': limits.graceMs,
    fsize: maxFileBytes,
    nofile: maxOpenFiles,
    nice: niceness,
    depth: depth ?? 0,
    adopt: survives === true ? 1 : 0,
    ...(mark === undefined ? {} : { mark: limitOf(mark) }),
    ...(recordFile === undefined ? {} : { record: recordFile }),
    ...(exitFile === undefined ? {} : { exit: exitFile }),
  };
  return [...Object.entries(settings).map(([name, value]) => `${name}=${value}`), '--', command.file, ...command.args];
}

async function notSpawned(child: ChildProcess): Promise<ContainedEnd> {
  const spawnError = await new Promise<Error>((resolve) => child.once('error', resolve));
  return { ...neverRan, spawnError };
}

/** What the supervisor says, line by line, as far as it is JSON. It says two lines, so nothing is bounded here. */
function readLines(control: Socket, onLine: (line: unknown) => void): readonly unknown[] {
  const lines: unknown[] = [];
  let text = '';
  control.setEncoding('utf8');
  control.on('data', (chunk: string) => {
    text += chunk;
    for (let end = text.indexOf('\n'); end !== -1; end = text.indexOf('\n')) {
      const line: unknown = JSON.parse(text.slice(0, end));
      text = text.slice(end + 1);
      lines.push(line);
      onLine(line);
    }
  });
  // It went while we wrote; what it said before is read, and `close` comes after.
  control.on('error', () => {});
  return lines;
}

/** A supervisor that was stopped, or hangs, is made to go on; if that does not help, it is killed. */
function createBackstop(
  { slackMs = defaultSlackMs }: SupervisorOptions,
  child: ChildProcess,
  lines: readonly unknown[],
) {
  let timer: NodeJS.Timeout | undefined;
  const both = (signal: NodeJS.Signals): void => {
    child.kill(signal);
    const { data } = StartSchema.safeParse(lines.at(0));
    if (data !== undefined) signalSupervisor(data.keeper, signal);
  };
  const wake = (): void => {
    both('SIGCONT');
    both('SIGUSR1');
    timer = setTimeout(both, continueMs + slackMs, 'SIGKILL');
  };
  return {
    /** Nothing is heard of it this long, and some: then it is stuck. */
    arm(afterMs: number): void {
      clearTimeout(timer);
      timer = setTimeout(wake, Math.min(maxTimerMs, afterMs + slackMs));
    },
    stop: (): void => clearTimeout(timer),
  };
}

/** Not our child, so its id may have become somebody else's. */
function signalSupervisor(pid: number, signal: NodeJS.Signals): void {
  try {
    if (readFileSync(`/proc/${pid}/comm`, 'utf8') === 'supervise\n') process.kill(pid, signal);
  } catch {
    // It ended while we looked.
  }
}
