import { z } from 'zod';
import { JobNotFoundError } from '../../../jobs/errors.ts';
import { isFinished, type JobRecord } from '../../../jobs/job.ts';
import type { TypedApp } from '../../app.ts';
import { type Call, openCall, type V1Deps } from '../../calls/call.ts';
import { answerPlain } from '../../calls/plain-answer.ts';
import { streamAnswer } from '../../calls/stream-answer.ts';
import { whenClosed } from '../../when-closed.ts';
import { chatErrorResponses, modelErrorResponses, openAiErrorResponses } from '../answers.ts';
import { badRequest, OpenAiError } from '../errors.ts';
import { fetchAttachments } from '../fetched-attachments.ts';
import { validatorOf } from '../request-error.ts';
import type { ChatMessage } from '../schemas.ts';
import { conversationAfter, doorOf, jobIdOf } from './door.ts';
import { ignoredResponseParams, type ResponseObject, ResponseRequestSchema, ResponseSchema } from './schemas.ts';
import { responseStream } from './stream.ts';
import { responseJob } from './translate.ts';
import { responseView } from './view.ts';

/** How long the answer to a cancellation waits for the run's end: the process tree gets its grace first. */
const cancelWaitMs = 15_000;

const params = z.object({ id: z.string() });
const answered = {
  200: {
    description: 'The response; with `stream: true` an event stream',
    content: { 'application/json': { schema: ResponseSchema }, 'text/event-stream': { schema: z.unknown() } },
  },
  ...openAiErrorResponses,
  ...modelErrorResponses,
};

/** `POST /v1/responses` and what can be done with one that is kept: a job under another name. */
export function responseRoutes(app: TypedApp, deps: V1Deps): void {
  createRoute(app, deps);
  readRoute(app, deps);
  endRoutes(app, deps);
}

function createRoute(app: TypedApp, deps: V1Deps): void {
  const { openai, maxPromptBytes } = deps;
  app.route({
    method: 'POST',
    url: '/v1/responses',
    preValidation: fetchAttachments(openai.attachments),
    schema: {
      summary: 'Ask an agent, as in the Responses API of OpenAI',
      tags: ['openai'],
      body: ResponseRequestSchema,
      response: { ...answered, ...chatErrorResponses },
    },
    validatorCompiler: () => validatorOf(ResponseRequestSchema),
    handler: async (request, reply) => {
      const { body } = request;
      const before = await conversationBefore(deps, body.previous_response_id);
      const spec = responseJob(body, before, openai, maxPromptBytes);
      const ignored = ignoredResponseParams(body);
      if (ignored.length > 0) reply.header('x-ignored-params', ignored.join(', '));
      const call = await openCall(deps, request, reply, spec);
      if (body.stream === true) {
        await streamAnswer(call, openai.streamTiming, responseStream(call.job));
        return reply;
      }
      return body.background === true ? responseView(call.job) : await answerWhole(deps, call);
    },
  });
}

async function answerWhole({ openai }: V1Deps, call: Call) {
  return await answerPlain<ResponseObject>(call, openai.plainTiming, {
    answer: responseView,
    // A failure has its place in a response; clients look there.
    lateFailure: ({ message }, job) => {
      const view = responseView(job ?? call.job);
      return view.error === null ? { ...view, status: 'failed', error: { code: 'server_error', message } } : view;
    },
  });
}

function readRoute(app: TypedApp, deps: V1Deps): void {
  const { jobs, runs, models, openai } = deps;
  app.route({
    method: 'GET',
    url: '/v1/responses/:id',
    schema: {
      summary: 'Read a response, or follow it from its beginning',
      tags: ['openai'],
      params,
      querystring: z.looseObject({
        stream: z.enum(['true', 'false']).optional(),
        starting_after: z.coerce
          .number()
          .int()
          .gte(0)
          .optional()
          .describe('With `stream=true`: only the events after the one with this `sequence_number`'),
      }),
      response: answered,
    },
    handler: async ({ params: { id }, query, log }, reply) => {
      const job = await keptJob(deps, id);
      const { stream, starting_after: after } = query;
      if (after !== undefined && stream !== 'true')
        throw badRequest('starting_after: only with stream=true', 'starting_after', 'invalid_value');
      if (stream !== 'true') return responseView(job);
      const call = { job, jobs, runs, models, log, reply, signal: whenClosed(reply.raw) };
      await streamAnswer(call, openai.streamTiming, responseStream(job, after));
      return reply;
    },
  });
}

function endRoutes(app: TypedApp, deps: V1Deps): void {
  const { jobs } = deps;
  app.route({
    method: 'POST',
    url: '/v1/responses/:id/cancel',
    schema: { summary: 'Cancel a response', tags: ['openai'], params, response: answered },
    handler: async ({ params: { id } }, reply) => {
      const { id: jobId } = await keptJob(deps, id);
      const { changed } = await jobs.cancel(jobId, 'cancelled');
      return responseView(
        changed ? await jobs.wait(jobId, cancelWaitMs, whenClosed(reply.raw)) : await jobs.get(jobId),
      );
    },
  });

  app.route({
    method: 'DELETE',
    url: '/v1/responses/:id',
    schema: {
      summary: 'Delete a response, and the job behind it',
      description: 'A run that has not ended is cancelled first.',
      tags: ['openai'],
      params,
      response: {
        200: z.object({ id: z.string(), object: z.literal('response'), deleted: z.literal(true) }),
        ...openAiErrorResponses,
        ...modelErrorResponses,
      },
    },
    handler: async ({ params: { id } }, reply) => {
      const job = await keptJob(deps, id);
      if (!isFinished(job)) {
        await jobs.cancel(job.id, 'cancelled');
        await jobs.wait(job.id, cancelWaitMs, whenClosed(reply.raw));
      }
      await jobs.remove(job.id);
      return { id, object: 'response' as const, deleted: true as const };
    },
  });
}

async function conversationBefore(deps: V1Deps, id: string | null | undefined): Promise<readonly ChatMessage[]> {
  if (id == null) return [];
  const job = await keptJob(deps, id).catch((error: unknown) => {
    if (error instanceof OpenAiError) return null;
    throw error;
  });
  const messages = job === null ? null : conversationAfter(job);
  if (messages !== null) return messages;
  const message = 'previous_response_id: no response that is kept and has an answer';
  throw badRequest(message, 'previous_response_id', 'previous_response_not_found');
}

/** The job of a response that its caller let be stored. Throws `OpenAiError` (404). */
async function keptJob({ jobs }: V1Deps, id: string): Promise<JobRecord> {
  try {
    const job = await jobs.get(jobIdOf(id));
    const door = doorOf(job);
    if (door !== null && door.request.store !== false) return job;
  } catch (error) {
    if (!(error instanceof JobNotFoundError)) throw error;
  }
  const message = 'No response with this id is kept';
  throw new OpenAiError(404, { message, type: 'invalid_request_error', param: 'id', code: 'not_found' });
}
