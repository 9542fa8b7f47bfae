import type { JobRecord, Json, JsonObject } from './job.ts';

/** One thing that an agent did, the same for every CLI: see docs/events.md. */
export type AgentPart =
  | { readonly type: 'start'; readonly model: string | null; readonly session_id: string | null }
  | { readonly type: 'text'; readonly text: string }
  | { readonly type: 'thinking'; readonly text: string }
  | { readonly type: 'tool_call'; readonly id: string | null; readonly name: string | null; readonly input: Json }
  | { readonly type: 'tool_result'; readonly id: string | null; readonly is_error: boolean; readonly text: string }
  | {
      readonly type: 'result';
      readonly is_error: boolean;
      readonly text: string | null;
      readonly cost_usd: number | null;
      readonly num_turns: number | null;
      readonly usage: JsonObject | null;
    }
  /** The line is too long to be kept in an event; it is in the log. */
  | { readonly type: 'oversized'; readonly bytes: number };

/** What one line of a CLI's output says. */
export interface AgentLine {
  /** Empty where the line says nothing that has a name here. */
  readonly parts: readonly AgentPart[];
  /** The tool call under which a subagent said it; null for the agent itself. */
  readonly parent: string | null;
}

export type RunEvent =
  | (AgentLine & { readonly type: 'agent'; readonly raw: string | null })
  | { readonly type: 'stderr'; readonly text: string }
  /** Nothing more of this run becomes an event; all of it is in the log. */
  | { readonly type: 'truncated'; readonly reason: 'events' | 'bytes' };

/** A kept event and its place in the run, from 1 without gaps; or a piece of text that will come again, whole, in a kept one. */
export type RunLogEntry =
  | { readonly place: number; readonly event: RunEvent }
  | { readonly place: null; readonly delta: string };

export const logSources = ['stdout', 'stderr'] as const;
export type LogSource = (typeof logSources)[number];

/** The raw output of a run, as it is now. */
export interface RawLog extends AsyncDisposable {
  readonly size: number;
  /** The bytes from `start` up to, without, `end`; with `end` null all there are until the run is over, live. */
  read(start: number, end: number | null, signal: AbortSignal): AsyncGenerator<Buffer, void>;
}

/**
 * What runs of this service printed, readable from the beginning at any time while the job is kept. The order and number of
 * entries never changes once one was given out, also not by a restart. Memory is bounded however slow the reader is.
 */
export interface RunLog {
  /**
   * The entries after the first `skip` kept ones; live, with deltas from now on, while the run goes on. Call for a job that
   * runs here only once its run has begun. Ends when the run is over, and early when the signal aborts; returns how many kept
   * entries there are, the skipped ones included. Of the last attempt, unless another one is named.
   */
  read(job: JobRecord, skip: number, signal: AbortSignal, attempt?: number): AsyncGenerator<RunLogEntry, number>;
  /** The log of the last attempt as it is now: empty for a job that has printed nothing. */
  open(job: JobRecord, source: LogSource): Promise<RawLog>;
}
