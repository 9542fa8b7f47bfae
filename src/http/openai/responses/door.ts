import { z } from 'zod';
import { isFinished, type JobRecord, type JsonObject } from '../../../jobs/job.ts';
import type { AnswerForm } from '../answer-form.ts';
import { answerText } from '../answers.ts';
import { runError } from '../run-error.ts';
import type { ChatMessage } from '../schemas.ts';
import type { ResponseRequest } from './schemas.ts';

/** What a response's job keeps to tell of it later: how it was asked, and the conversation up to its answer. */
export interface ResponseDoor {
  readonly protocol: 'responses';
  readonly form: AnswerForm;
  /** Without instructions: they do not carry over. */
  readonly messages: readonly ChatMessage[];
  /** The request but its input. */
  readonly request: Partial<ResponseRequest>;
}

const Kept = z.looseObject({ protocol: z.literal('responses') });

export function toDoor(
  { input: _, ...request }: ResponseRequest,
  form: AnswerForm,
  messages: readonly ChatMessage[],
): JsonObject {
  const door: ResponseDoor = { protocol: 'responses', form, messages, request };
  // It came from JSON, and nothing but JSON was added.
  return door as unknown as JsonObject;
}

/** Null for a job that is no response. */
export function doorOf(job: JobRecord): ResponseDoor | null {
  return Kept.safeParse(job.spec.door).success ? (job.spec.door as unknown as ResponseDoor) : null;
}

/** The conversation with its answer; null for a job that has none (yet). */
export function conversationAfter(job: JobRecord): readonly ChatMessage[] | null {
  const door = doorOf(job);
  if (door === null || !isFinished(job) || runError(job) !== null) return null;
  return [...door.messages, answerMessage(job.id, door.form, answerText(job.outcome.report))];
}

function answerMessage(jobId: string, form: AnswerForm, text: string): ChatMessage {
  if (form.kind !== 'call') return { role: 'assistant', content: text };
  const call = { id: callId(jobId), type: 'function' as const, function: { name: form.name, arguments: text } };
  return { role: 'assistant', content: null, tool_calls: [call] };
}

/** Made of the job's id, so that every answer about it has the same. */
export function callId(jobId: string): string {
  return jobId.replace(/^job_/, 'call_');
}

export function responseId(jobId: string): string {
  return jobId.replace(/^job_/, 'resp_');
}

/** What no response could have is an id that no job has. */
export function jobIdOf(id: string): string {
  return id.startsWith('resp_') ? `job_${id.slice('resp_'.length)}` : '';
}
