import type { SQLOutputValue } from 'node:sqlite';
import type { ChangeSummary } from '../jobs/change-set.ts';
import type {
  AgentReport,
  EarlierAttempt,
  FinalStatus,
  JobId,
  JobReason,
  JobRecord,
  JobSpec,
  JobStatus,
} from '../jobs/job.ts';

/** A row of `jobs`, as the statements of `job-operations.ts` select it. */
export interface JobRow {
  readonly seq: number;
  readonly id: JobId;
  readonly caller: string;
  readonly status: JobStatus;
  readonly attempt: number;
  readonly created_at: number;
  readonly started_at: number | null;
  readonly finished_at: number | null;
  readonly reason: JobReason | null;
  readonly error: string | null;
  readonly due: number;
  readonly acked_at: number | null;
  readonly spec: string;
  readonly report: string | null;
  readonly changes: string | null;
  readonly waits_for: number | null;
  readonly earlier: string | null;
}

/** Trusts the schema: only this service writes the file, and its CHECKs hold the words of `status`. */
export function asJobRow(row: Record<string, SQLOutputValue>): JobRow {
  return row as unknown as JobRow;
}

export function toRecord(row: JobRow, queuePosition: number | null): JobRecord {
  return {
    id: row.id,
    seq: row.seq,
    caller: row.caller,
    spec: JSON.parse(row.spec) as JobSpec,
    status: row.status,
    attempt: row.attempt,
    ...(row.earlier !== null && { earlier: JSON.parse(row.earlier) as readonly EarlierAttempt[] }),
    createdAt: row.created_at,
    startedAt: row.started_at,
    finishedAt: row.finished_at,
    queuePosition,
    ...(row.due === 1 ? { followUp: 'due' } : row.acked_at === null ? {} : { followUp: 'done' }),
    outcome:
      row.report === null || row.reason === null
        ? null
        : {
            status: row.status as FinalStatus,
            reason: row.reason,
            error: row.error,
            report: JSON.parse(row.report) as AgentReport,
            ...(row.changes !== null && { changes: JSON.parse(row.changes) as ChangeSummary }),
          },
  };
}

/** What a list shows of a prompt, in UTF-16 units. */
const shownPromptLength = 1_000;

/** The JSON for the lean row, and the whole JSON if that is not the same. JSON keeps even lone surrogates exactly. */
export interface Encoded {
  readonly short: string;
  readonly long: string | null;
}

export function encodeSpec(spec: JobSpec): Encoded {
  const prompt = cut(spec.prompt);
  const systemPrompt = spec.systemPrompt === null ? null : cut(spec.systemPrompt);
  // What only the agent and its door read, however long it is, stays out of the lean row.
  const { outputSchema, attachments, history, door, ...lean } = spec;
  const isLean = [outputSchema, attachments, history, door].every((part) => part === undefined);
  const isWhole = isLean && prompt === spec.prompt && systemPrompt === spec.systemPrompt;
  return {
    short: JSON.stringify(isWhole ? spec : { ...lean, prompt, systemPrompt }),
    long: isWhole ? null : JSON.stringify(spec),
  };
}

export function encodeReport(report: AgentReport): Encoded {
  const { output, stderr, result, text } = report;
  const isWhole = output.length === 0 && stderr === '' && result === null && text === null;
  return {
    short: JSON.stringify(isWhole ? report : { ...report, output: [], stderr: '', result: null, text: null }),
    long: isWhole ? null : JSON.stringify(report),
  };
}

function cut(text: string): string {
  if (text.length <= shownPromptLength) return text;
  const last = text.charCodeAt(shownPromptLength - 1);
  const splitsPair = last >= 0xd800 && last <= 0xdbff;
  return text.slice(0, splitsPair ? shownPromptLength - 1 : shownPromptLength);
}
