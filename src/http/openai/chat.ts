import type { JobRecord } from '../../jobs/job.ts';
import type { TypedApp } from '../app.ts';
import { idPart, openCall, type V1Deps } from '../calls/call.ts';
import { answerPlain, type PlainProtocol } from '../calls/plain-answer.ts';
import { streamAnswer } from '../calls/stream-answer.ts';
import { type AnswerForm, wantedAnswer } from './answer-form.ts';
import {
  type ChatHead,
  ChunkSchema,
  type Completion,
  CompletionSchema,
  chatErrorResponses,
  completionOf,
  failedCompletion,
  modelErrorResponses,
  openAiErrorResponses,
} from './answers.ts';
import { chatStream } from './chat-stream.ts';
import { fetchAttachments } from './fetched-attachments.ts';
import { validatorOf } from './request-error.ts';
import { chatBody } from './responses/as-chat.ts';
import { ChatRequestSchema, ignoredParams } from './schemas.ts';
import { chatJob } from './translate.ts';

const validate = validatorOf(ChatRequestSchema);

function validateChat(data: unknown): ReturnType<typeof validate> {
  const body = chatBody(data);
  return 'error' in body ? body : validate(body.value);
}

/** `POST /v1/chat/completions`: a job whose caller waits for its answer, whole or streamed. Who hangs up takes the job along. */
export function chatRoutes(app: TypedApp, deps: V1Deps): void {
  const { openai, maxPromptBytes } = deps;
  app.route({
    method: 'POST',
    url: '/v1/chat/completions',
    preValidation: fetchAttachments(openai.attachments),
    schema: {
      summary: 'Ask an agent, as in the API of OpenAI',
      tags: ['openai'],
      body: ChatRequestSchema,
      response: {
        200: {
          description: 'The answer; with `stream: true` an event stream of chunks, ended by `[DONE]`',
          content: { 'application/json': { schema: CompletionSchema }, 'text/event-stream': { schema: ChunkSchema } },
        },
        ...openAiErrorResponses,
        ...modelErrorResponses,
        ...chatErrorResponses,
      },
    },
    validatorCompiler: () => validateChat,
    handler: async (request, reply) => {
      const { body } = request;
      const { form, schema } = wantedAnswer(body);
      const ignored = ignoredParams(body);
      if (ignored.length > 0) reply.header('x-ignored-params', ignored.join(', '));
      const spec = chatJob(body, schema, openai, maxPromptBytes);
      const call = await openCall(deps, request, reply, spec);
      const head = headOf(call.job);
      if (body.stream !== true) return await answerPlain(call, openai.plainTiming, plainChat(head, form));
      const includeUsage = body.stream_options?.include_usage === true;
      await streamAnswer(call, openai.streamTiming, chatStream({ ...head, form, includeUsage }));
      return reply;
    },
  });
}

function plainChat(head: ChatHead, form: AnswerForm): PlainProtocol<Completion> {
  return {
    answer: (job) => completionOf(head, form, job),
    lateFailure: ({ body, message }, job) => ({ ...failedCompletion(head, message, job), ...body }),
  };
}

function headOf(job: JobRecord): ChatHead {
  return {
    id: `chatcmpl-${idPart(job)}`,
    created: Math.floor(job.createdAt / 1000),
    model: job.spec.model ?? '',
  };
}
