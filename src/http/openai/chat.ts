import { randomBytes } from 'node:crypto';
import type { FastifyReply } from 'fastify';
import type { z } from 'zod';
import { isFinished, type JobRecord } from '../../jobs/job.ts';
import type { JobService } from '../../jobs/job-service.ts';
import type { AppDeps, TypedApp } from '../app.ts';
import { defaultCaller } from '../routes/execute.ts';
import { whenClosed } from '../when-closed.ts';
import {
  type ChatHead,
  ChunkSchema,
  type Completion,
  CompletionSchema,
  chatErrorResponses,
  completionOf,
  modelErrorResponses,
  openAiErrorResponses,
} from './answers.ts';
import { streamChat } from './chat-stream.ts';
import { requestError } from './request-error.ts';
import { runError, unfollowedError } from './run-error.ts';
import { ChatRequestSchema, ignoredParams } from './schemas.ts';
import { chatJob } from './translate.ts';
import { whileAttended } from './while-attended.ts';

/** `POST /v1/chat/completions`: a job whose caller waits for its answer, whole or streamed. Who hangs up takes the job along. */
export function chatRoutes(app: TypedApp, deps: AppDeps): void {
  const { jobs, metrics, openai, clock, maxPromptBytes } = deps;
  app.route({
    method: 'POST',
    url: '/v1/chat/completions',
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
    validatorCompiler: () => validate,
    handler: async ({ body, log }, reply) => {
      const ignored = ignoredParams(body);
      if (ignored.length > 0) reply.header('x-ignored-params', ignored.join(', '));
      const spec = chatJob(body, openai, maxPromptBytes);
      const head = { id: chatId(), created: Math.floor(clock.now() / 1000), model: spec.model };
      const signal = whenClosed(reply.raw);
      const job = await jobs.submit(spec, defaultCaller);
      metrics.accepted('chat');
      reply.header('x-job-id', job.id);
      if (body.stream !== true) return await answerWhole({ jobs, reply, signal }, head, job);
      const includeUsage = body.stream_options?.include_usage === true;
      await streamChat({ jobs, log, reply, signal, timing: openai.streamTiming }, { ...head, includeUsage }, job);
      return reply;
    },
  });
}

interface Call {
  readonly jobs: JobService;
  readonly reply: FastifyReply;
  readonly signal: AbortSignal;
}

async function answerWhole(
  { jobs, reply, signal }: Call,
  head: ChatHead,
  job: JobRecord,
): Promise<Completion | FastifyReply> {
  let ended: JobRecord;
  try {
    ended = await whileAttended({ jobs, job, signal, log: reply.log }, () => jobs.wait(job.id, null, signal));
  } catch (error) {
    // Nobody is there to be answered.
    if (signal.aborted) return reply.hijack();
    reply.log.error({ err: error, job_id: job.id }, 'a chat job could not be waited for');
    throw unfollowedError();
  }
  const resolved = ended.outcome?.report.resolvedModel;
  // The name is what a CLI printed: only what is harmless in a header goes into one.
  if (resolved != null && /^[\w.:@/[\]-]{1,200}$/.test(resolved)) reply.header('x-resolved-model', resolved);
  const error = runError(ended);
  if (error !== null) throw error;
  if (!isFinished(ended)) throw unfollowedError();
  return completionOf(head, ended);
}

/** As the schema of the route, with errors in the words of OpenAI: they tell a wrong type from a wrong value. */
function validate(data: unknown): { value: z.output<typeof ChatRequestSchema> } | { error: Error } {
  const result = ChatRequestSchema.safeParse(data, { reportInput: true });
  return result.success ? { value: result.data } : { error: requestError(result.error.issues) };
}

function chatId(): string {
  return `chatcmpl-${randomBytes(18).toString('base64url')}`;
}
