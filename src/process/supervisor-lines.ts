import { constants } from 'node:os';
import { getSystemErrorMessage, getSystemErrorName } from 'node:util';
import { z } from 'zod';
import { type ContainedEnd, neverRan, supervisionLost } from './containment.ts';

/** What native/supervise.c says and writes. */

export const StartSchema = z.object({ pid: z.int(), keeper: z.int() });
export const EndSchema = z.object({
  exit_code: z.int().nullable(),
  signal: z.int().nullable(),
  spawn_errno: z.int(),
  ended_by: z.string().nullable(),
  killed: z.int(),
  survivors: z.int(),
  peak_rss_bytes: z.int(),
  cpu_ms: z.int(),
});

/** In the record file. The start times tell a process from a later one of the same id. */
export const RecordSchema = z.object({
  boot_id: z.string(),
  guard: z.int(),
  guard_start: z.int(),
  program: z.int(),
});

/** `reason` is the one with which the end was asked for, if it was; `file` the program that ran. */
export function endOf(end: z.output<typeof EndSchema>, file: string, reason: string | null): ContainedEnd {
  if (end.spawn_errno !== 0) return { ...neverRan, spawnError: systemError(end.spawn_errno, file) };
  return {
    exitCode: end.exit_code,
    signal: end.signal === null ? null : signalName(end.signal),
    endedBy: endedBy(end.ended_by, reason),
    spawnError: null,
    containment: {
      level: 'supervisor',
      killed: end.killed,
      survivors: end.survivors,
      peakRssBytes: end.peak_rss_bytes,
      cpuMs: end.cpu_ms,
    },
  };
}

function endedBy(word: string | null, reason: string | null): string | null {
  switch (word) {
    case null:
    case 'timeout':
    case 'idle':
    case 'output_limit':
      return word;
    case 'request':
    case 'signal':
      return reason ?? supervisionLost;
    default:
      return supervisionLost;
  }
}

function systemError(errno: number, file: string): Error {
  const code = getSystemErrorName(-errno);
  return Object.assign(new Error(`spawn ${file} ${code}: ${getSystemErrorMessage(-errno)}`), { code });
}

function signalName(number: number): NodeJS.Signals | null {
  const entries = Object.entries(constants.signals) as [NodeJS.Signals, number][];
  return entries.find(([, value]) => value === number)?.[0] ?? null;
}
