import { z } from 'zod';
import type { AgentReport, FinishedJob } from '../../jobs/job.ts';
import type { AnswerForm } from './answer-form.ts';
import { stopIn } from './stop.ts';
import { UsageSchema, usageOf } from './usage.ts';

/** What one call of chat completions has in common in all that is answered to it. */
export interface ChatHead {
  readonly id: string;
  /** Epoch seconds. */
  readonly created: number;
  /** As the client named it. */
  readonly model: string;
}

const finishReasons = ['stop', 'length', 'tool_calls', 'function_call', 'content_filter'] as const;
const FunctionSchema = z.object({ name: z.string(), arguments: z.string() });
const FunctionPieceSchema = z.object({ name: z.string().optional(), arguments: z.string() });

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
        content: z.string().nullable(),
        refusal: z.string().nullable(),
        annotations: z.array(z.never()),
        tool_calls: z
          .array(z.object({ id: z.string(), type: z.literal('function'), function: FunctionSchema }))
          .optional()
          .describe('Only of a function that the request forced'),
        function_call: FunctionSchema.optional(),
      }),
      logprobs: z.null(),
      finish_reason: z.enum(finishReasons),
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
        content: z.string().nullable().optional(),
        refusal: z.null().optional(),
        tool_calls: z
          .array(
            z.object({
              index: z.int(),
              id: z.string().optional(),
              type: z.literal('function').optional(),
              function: FunctionPieceSchema,
            }),
          )
          .optional(),
        function_call: FunctionPieceSchema.optional(),
      }),
      logprobs: z.null(),
      finish_reason: z.enum(finishReasons).nullable(),
    }),
  ),
  usage: UsageSchema.nullable().optional().describe('Only with `stream_options.include_usage`'),
});

export type Completion = z.output<typeof CompletionSchema>;
export type Chunk = z.output<typeof ChunkSchema>;
type FinishReason = Completion['choices'][number]['finish_reason'];

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
  422: { description: 'The Idempotency-Key was used with another request', ...error },
  429: { description: "The queue is full, see Retry-After; or the model's API limits the rate", ...error },
  500: { description: 'The agent failed; `x-should-retry: false`, since it may have cost money', ...error },
  503: { description: 'Not ready, or no workspace could be made; see Retry-After', ...error },
  504: { description: 'The agent was ended at its time limit; `x-should-retry: false`', ...error },
};

/** The whole answer to a plain call, of a job that has one. */
export function completionOf(chat: ChatHead, form: AnswerForm, job: FinishedJob): Completion {
  return completion(chat, messageOf(chat, form, answerText(job.outcome.report)), finishReason(job, form), job);
}

/** A failure that came after the status 200 had gone out, such that a client which looks for a message finds words. */
export function failedCompletion(chat: ChatHead, message: string, job: FinishedJob | null): Completion {
  const refusal: Message = { role: 'assistant', content: '', refusal: message, annotations: [] };
  return completion(chat, refusal, 'content_filter', job);
}

type Message = Completion['choices'][number]['message'];

function completion(chat: ChatHead, message: Message, finish: FinishReason, job: FinishedJob | null): Completion {
  return {
    id: chat.id,
    object: 'chat.completion',
    created: chat.created,
    model: chat.model,
    service_tier: 'default',
    choices: [{ index: 0, message, logprobs: null, finish_reason: finish }],
    usage: usageOf(job?.outcome.report.usage ?? null),
  };
}

function messageOf(chat: ChatHead, form: AnswerForm, text: string): Message {
  const common = { role: 'assistant' as const, refusal: null, annotations: [] };
  switch (form.kind) {
    case 'text':
      return { ...common, content: stopIn(text, form.stops).text };
    case 'json':
      return { ...common, content: text };
    case 'call': {
      const call = functionCall(chat, form.name, text);
      const called = form.legacy ? { function_call: call.function } : { tool_calls: [call] };
      return { ...common, content: null, ...called };
    }
  }
}

/** The call of a function that the caller forced; `json` are its arguments. */
export function functionCall({ id }: ChatHead, name: string, json: string) {
  return { id: id.replace(/^[a-z]+-/, 'call_'), type: 'function' as const, function: { name, arguments: json } };
}

/** All text of the answer, the same plain and streamed. */
export function answerText(report: AgentReport): string {
  return report.text ?? report.result ?? '';
}

/** A run that its budget or its number of turns cut short says so as a model says that it ran out of tokens. */
export function finishReason({ status }: FinishedJob, form: AnswerForm): FinishReason {
  if (status !== 'completed') return 'length';
  if (form.kind !== 'call') return 'stop';
  return form.legacy ? 'function_call' : 'tool_calls';
}
