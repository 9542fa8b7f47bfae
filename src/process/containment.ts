import type { Command } from './command.ts';

/** How surely a program and all that it starts are held together: only its process group, or everything. */
export type ContainmentLevel = 'group' | 'supervisor';

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

export interface Launch {
  readonly command: Command;
  readonly streams: Streams;
  readonly limits: ProcessLimits;
  /** An entry of the environment that no other program has: what is left of this one is looked for by it. */
  readonly mark?: string | undefined;
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

/** Starts programs so that each, with all that it starts, can be ended as one, and ends them at their limits. */
export interface Containment {
  readonly level: ContainmentLevel;
  start(launch: Launch): ContainedProcess;
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
