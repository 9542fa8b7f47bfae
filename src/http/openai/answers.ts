import { z } from 'zod';
import type { AgentReport, FinishedJob } from '../../jobs/job.ts';
import { UsageSchema, usageOf } from './usage.ts';

/** What one call of chat completions has in common in all that is answered to it. */
export interface ChatHead {
  readonly id: string;
  /** Epoch seconds. */
  readonly created: number;
  /** As the client named it. */
  readonly model: string;
}

const head = { id: z.string(), created: z.int().describe('Epoch seconds'), model: z.string() };

export const CompletionSchema = z.object({
  ...head,
  object: z.literal('chat.completion'),
  service_tier: z.literal('default'),
  choices: z.array(
    z.object({
      index: z.int(),
      message: z.object({
        role: z.literal('assistant'),
        content: z.string(),
        refusal: z.null(),
        annotations: z.array(z.never()),
      }),
      logprobs: z.null(),
      finish_reason: z.enum(['stop', 'length']),
    }),
  ),
  usage: UsageSchema,
});

export const ChunkSchema = z.object({
  ...head,
  object: z.literal('chat.completion.chunk'),
  service_tier: z.literal('default'),
  choices: z.array(
    z.object({
      index: z.int(),
      delta: z.object({
        role: z.literal('assistant').optional(),
        content: z.string().optional(),
        refusal: z.null().optional(),
      }),
      logprobs: z.null(),
      finish_reason: z.enum(['stop', 'length']).nullable(),
    }),
  ),
  usage: UsageSchema.nullable().optional().describe('Only with `stream_options.include_usage`'),
});

export type Completion = z.output<typeof CompletionSchema>;
export type Chunk = z.output<typeof ChunkSchema>;
export type FinishReason = Completion['choices'][number]['finish_reason'];

const ErrorSchema = z
  .object({
    error: z.object({
      message: z.string(),
      type: z.string(),
      param: z.string().nullable().describe('The path of the wrong place, as in `messages[0].role`'),
      code: z.string().nullable().describe('Stable: branch on this'),
    }),
  })
  .describe("OpenAI's error envelope");

const error = { content: { 'application/json': { schema: ErrorSchema } } };

/** What any /v1 route may answer. */
export const openAiErrorResponses = {
  400: { description: 'The request is malformed; `param` names the place', ...error },
  401: { description: 'No valid bearer token', ...error },
};
export const modelErrorResponses = { 404: { description: 'No such model', ...error } };
export const chatErrorResponses = {
  413: { description: 'The body is too large', ...error },
  415: { description: 'The content type is not application/json', ...error },
  429: { description: "The queue is full, see Retry-After; or the model's API limits the rate", ...error },
  500: { description: 'The agent failed; `x-should-retry: false`, since it may have cost money', ...error },
  503: { description: 'Not ready, or no workspace could be made; see Retry-After', ...error },
  504: { description: 'The agent was ended at its time limit; `x-should-retry: false`', ...error },
};

/** The whole answer to a plain call, of a job that has one. */
export function completionOf(chat: ChatHead, job: FinishedJob): Completion {
  const { report } = job.outcome;
  return {
    id: chat.id,
    object: 'chat.completion',
    created: chat.created,
    model: chat.model,
    service_tier: 'default',
    choices: [
      {
        index: 0,
        message: { role: 'assistant', content: answerText(report), refusal: null, annotations: [] },
        logprobs: null,
        finish_reason: finishReason(job),
      },
    ],
    usage: usageOf(report.usage),
  };
}

/** All text of the answer, the same plain and streamed. */
export function answerText(report: AgentReport): string {
  return report.text ?? report.result ?? '';
}

/** A run that its budget or its number of turns cut short says so as a model says that it ran out of tokens. */
export function finishReason({ status }: FinishedJob): FinishReason {
  return status === 'completed' ? 'stop' : 'length';
}
