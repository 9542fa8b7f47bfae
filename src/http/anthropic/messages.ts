import { z } from 'zod';
import type { TypedApp } from '../app.ts';
import { openCall, type V1Deps } from '../calls/call.ts';
import { answerPlain } from '../calls/plain-answer.ts';
import { streamAnswer } from '../calls/stream-answer.ts';
import { conversation } from '../openai/conversation.ts';
import { modelNotFound } from '../openai/errors.ts';
import { fetchAttachments } from '../openai/fetched-attachments.ts';
import { validatorOf } from '../openai/request-error.ts';
import { failedMessage, messageOf, messageStream } from './answer.ts';
import {
  CountRequestSchema,
  ignoredMessageParams,
  type MessageObject,
  MessageRequestSchema,
  MessageSchema,
} from './schemas.ts';
import { messageJob, messagesOf } from './translate.ts';

/** A rule of thumb: what a tokenizer of the model would count is not known here. */
const charactersPerToken = 4;

const ErrorSchema = z.object({
  type: z.literal('error'),
  error: z.object({ type: z.string(), message: z.string() }),
  request_id: z.string(),
});
const error = { content: { 'application/json': { schema: ErrorSchema } } };
const errorResponses = {
  400: { description: 'The request is malformed; the message names the place', ...error },
  401: { description: 'No valid token, as `x-api-key` or as a bearer token', ...error },
  404: { description: 'No such model', ...error },
};
const callErrorResponses = {
  413: { description: 'The body is too large', ...error },
  422: { description: 'The Idempotency-Key was used with another request', ...error },
  429: { description: "The queue is full, see Retry-After; or the model's API limits the rate", ...error },
  500: { description: 'The agent failed; `x-should-retry: false`, since it may have cost money', ...error },
  503: { description: 'Not ready, or no workspace could be made; see Retry-After', ...error },
  504: { description: 'The agent was ended at its time limit; `x-should-retry: false`', ...error },
};

/** `POST /v1/messages`, for clients of Anthropic, and its count of tokens. */
export function messageRoutes(app: TypedApp, deps: V1Deps): void {
  const { openai, maxPromptBytes } = deps;
  app.route({
    method: 'POST',
    url: '/v1/messages',
    preValidation: fetchAttachments(openai.attachments),
    schema: {
      summary: 'Ask an agent, as in the Messages API of Anthropic',
      tags: ['anthropic'],
      body: MessageRequestSchema,
      response: {
        200: {
          description: 'The message; with `stream: true` an event stream',
          content: { 'application/json': { schema: MessageSchema }, 'text/event-stream': { schema: z.unknown() } },
        },
        ...errorResponses,
        ...callErrorResponses,
      },
    },
    validatorCompiler: () => validatorOf(MessageRequestSchema),
    handler: async (request, reply) => {
      const { body } = request;
      const { spec, form } = messageJob(body, openai, maxPromptBytes);
      reply.header('x-ignored-params', ignoredMessageParams(body).join(', '));
      const call = await openCall(deps, request, reply, spec);
      if (body.stream === true) {
        await streamAnswer(call, openai.streamTiming, messageStream(form, call.job));
        return reply;
      }
      return await answerPlain<MessageObject>(call, openai.plainTiming, {
        answer: (job) => messageOf(form, job),
        lateFailure: (failure, job) => failedMessage(failure, job ?? call.job),
      });
    },
  });

  app.route({
    method: 'POST',
    url: '/v1/messages/count_tokens',
    schema: {
      summary: 'Estimate the tokens of a request',
      description: 'Four characters are taken for a token; what the agent adds of its own is not counted.',
      tags: ['anthropic'],
      body: CountRequestSchema,
      response: { 200: z.object({ input_tokens: z.int() }), ...errorResponses },
    },
    validatorCompiler: () => validatorOf(CountRequestSchema),
    handler: ({ body }) => {
      if (!openai.models.includes(body.model)) throw modelNotFound(body.model);
      const { messages, places } = messagesOf(body);
      const content = (index: number): string => places[index] ?? 'system';
      const { prompt, systemPrompt } = conversation(messages, maxPromptBytes, { all: 'messages', content });
      return { input_tokens: Math.ceil((prompt.length + (systemPrompt?.length ?? 0)) / charactersPerToken) };
    },
  });
}
