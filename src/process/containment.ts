import type { Command } from './command.ts';

/** How surely a program and all that it starts are held: their process group, all of them, or all of them shut in. */
export type ContainmentLevel = 'group' | 'supervisor' | 'namespace';

/** What a contained program may use. Durations in ms. */
export interface ProcessLimits {
  readonly timeoutMs: number;
  /** How long neither output may grow; null: as long as it likes. */
  readonly idleMs: number | null;
  /** Both outputs together. A fast writer gets past it by what it writes between two looks. */
  readonly maxOutputBytes: number;
  /** From the first signal to SIGKILL. */
  readonly graceMs: number;
}

/** Open files, as descriptors of this process. */
export interface Streams {
  readonly stdin: number;
  readonly stdout: number;
  readonly stderr: number;
}

/** Absolute paths. */
export interface Access {
  readonly writable: readonly string[];
  /** Also where what lies around it is hidden. */
  readonly readable: readonly string[];
}

export interface Launch {
  readonly command: Command;
  readonly streams: Streams;
  readonly limits: ProcessLimits;
  /** What it may see and change where it is shut in: all else is read-only, hidden, or its own. */
  readonly access?: Access | undefined;
  /** How many generations of a sandbox lie between the supervisor and what the command is about. */
  readonly depth?: number | undefined;
  /** An entry of the environment that no other program has: what is left of this one is looked for by it. */
  readonly mark?: string | undefined;
  /** It goes on when this process ends, for a later one to adopt. */
  readonly survives?: boolean | undefined;
  /** Where the supervisor writes who runs, and how it ended: for those who come after this process. */
  readonly recordFile?: string | undefined;
  readonly exitFile?: string | undefined;
  /** Told the program's process id when it runs. */
  readonly onSpawn?: ((pid: number) => void) | undefined;
}

/** What became of the processes. Null where the level cannot know. */
export interface ContainmentReport {
  readonly level: ContainmentLevel;
  /** How many had to be killed, the program itself included. */
  readonly killed: number | null;
  /** How many could not be ended. */
  readonly survivors: number | null;
  /** Of the largest of the processes. */
  readonly peakRssBytes: number | null;
  /** Of all processes together. */
  readonly cpuMs: number | null;
}

export interface ContainedEnd {
  /** Null if a signal ended it, or if it never ran. */
  readonly exitCode: number | null;
  readonly signal: NodeJS.Signals | null;
  /**
   * Who ended it: `timeout`, `idle`, `output_limit`, the reason given to `end`, or, where supervision itself was cut short,
   * `supervision_lost`. Null: it ended by itself.
   */
  readonly endedBy: string | null;
  /** Why it never ran. */
  readonly spawnError: Error | null;
  /** Null if it never ran. */
  readonly containment: ContainmentReport | null;
}

export interface ContainedProcess {
  /** SIGINT, SIGTERM, SIGKILL within the grace. The first reason stays. Safe to call when it is over. */
  end(reason: string): void;
  /** From now on without grace: what is being ended is killed now, what is ended later is killed at once. */
  hurry(): void;
  /** Resolves, and never rejects, when nothing that can be known of is left. */
  readonly ended: Promise<ContainedEnd>;
}

/** What an earlier process started a program with. */
export interface AdoptedFiles {
  readonly mark: string;
  readonly recordFile: string;
  readonly exitFile: string;
}

/** How programs are taken over that an earlier process started, and that outlived it. */
export interface Adoption {
  /** Whether it runs still, or has left word of its end. If neither, what is left of it is killed. Never rejects. */
  isPossible(files: AdoptedFiles): Promise<boolean>;
  take(files: AdoptedFiles): ContainedProcess;
}

/** A program that runs before there is anything for it to do. */
export interface WaitingProcess extends ContainedProcess {
  /** Gives it the whole of its standard input; time and silence count from now on. Call once. Safe when it is over. */
  begin(input: string): void;
}

/** Its standard input comes later. */
export type WaitingLaunch = Omit<Launch, 'streams' | 'survives'> & { readonly streams: Omit<Streams, 'stdin'> };

/** Starts programs so that each, with all that it starts, can be ended as one, and ends them at their limits. */
export interface Containment {
  readonly level: ContainmentLevel;
  start(launch: Launch): ContainedProcess;
  /** Absent where a program that waits could outlive this process. */
  startWaiting?(launch: WaitingLaunch): WaitingProcess;
  /** Absent where nothing outlives this process in a way that could be found again. */
  readonly adoption?: Adoption;
}

export const supervisionLost = 'supervision_lost';

export const neverRan: ContainedEnd = {
  exitCode: null,
  signal: null,
  endedBy: null,
  spawnError: null,
  containment: null,
};

/** When SIGTERM follows SIGINT: the first of the two lets an agent report its cost, the second most programs know. */
export const termShareOfGrace = 0.4;
