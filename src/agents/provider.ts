import type { AgentReport, JobReason, JobSpec, PastTurn } from '../jobs/job.ts';
import type { AgentEvent } from '../jobs/ports.ts';
import type { AgentLine } from '../jobs/run-log.ts';
import type { RunPaths } from './run-directory.ts';

/** One kind of agent CLI: data and pure functions, so that a new one is one file and one line in the registry. */
export interface AgentProvider {
  readonly name: string;
  /** Makes the CLI print its version and exit with 0. */
  readonly versionArgs: readonly string[];
  /** What an operator does where the CLI is missing or broken: the end of a sentence, without a full stop. */
  readonly installHint: string;
  /** What goes to the CLI's standard input. */
  stdin(spec: JobSpec): string;
  /** What goes into `RunPaths.history`; absent for a CLI that takes no earlier turns. Called for a job that has some. */
  history?(turns: readonly PastTurn[], cwd: string, model: string | null): string;
  /** No value of a caller gets into the arguments, except one that matched a strict pattern at the edge. */
  args(invocation: Invocation): readonly string[];
  /** How it is started before its job is there; absent: it cannot be. */
  readonly early?: EarlyStart;
  variables(paths: RunPaths): AgentVariables;
  readonly output: AgentOutput;
  /** Absent: every line becomes an event without parts. */
  readonly events?: EventFormat;
}

/** A CLI that waits for its prompt on its standard input. */
export interface EarlyStart {
  /** What is settled at its start: a run whose own would be others, but for id, paths and session, needs another start. */
  args(invocation: Invocation): readonly string[];
  /** All that goes to its standard input once the job is there, what else the job asks for among it. */
  stdin(spec: JobSpec): string;
}

export interface Invocation {
  readonly id: string;
  readonly spec: JobSpec;
  readonly paths: RunPaths;
  /** A new UUID per run. */
  readonly sessionId: string;
}

/** The CLI's own environment variables. */
export interface AgentVariables {
  /** What keeps a run to itself: nothing that an operator allows can change these. */
  readonly fixed: Readonly<Record<string, string>>;
  /** What an operator may change by naming the variable in AGENT_ENV. */
  readonly defaults: Readonly<Record<string, string>>;
}

/** How the CLI's output is read. */
export interface AgentOutput {
  /** A line without any of these holds no event, and is never parsed; the result line alone needs none of them. */
  readonly eventNeedles: readonly Buffer[];
  /** `structured`: the answer is the JSON of the result, and what is said on the way is no part of it. */
  createReader(structured: boolean): AgentReader;
  /** A line without this is not the result. */
  readonly resultNeedle: Buffer;
  /** Null if the line is not the CLI's result object. */
  readResult(line: Buffer): AgentResult | null;
}

/**
 * How the CLI's lines become the events of a job. Pure functions of one line, for the numbers of events are found anew from the
 * log at each reading. Never throw: agents print anything.
 */
export interface EventFormat {
  /** True for a piece of what a later line says as a whole: such lines are not kept as events. */
  isDelta(line: Buffer): boolean;
  /** The text of such a piece, if it is a piece of the agent's own answer. */
  delta(line: Buffer): string | null;
  read(line: Buffer): AgentLine;
}

/** Reads one run's lines in their order; where none had text, its result comes last. Never throws: agents print anything. */
export interface AgentReader {
  read(line: Buffer): readonly AgentEvent[];
}

/** What the CLI's own result object says. */
export interface AgentResult extends Omit<AgentReport, 'exitCode' | 'output' | 'stderr' | 'text' | 'containment'> {
  /** Null if it says that the run succeeded. */
  readonly failure: { readonly reason: JobReason; readonly error: string } | null;
  /** True if its text is JSON that fits the schema that was asked for. */
  readonly structured: boolean;
}
