import type { FastifyReply, FastifyRequest } from 'fastify';
import type { Metrics } from '../telemetry/metrics.ts';
import { anthropicErrorBody, isAnthropicPath } from './anthropic/errors.ts';
import { problemBody, problemOf, statusOf } from './errors.ts';
import { isOpenAiPath, OpenAiError, openAiError } from './openai/errors.ts';

type ErrorHandler = (error: unknown, request: FastifyRequest, reply: FastifyReply) => void;

/** Answers whatever a route or a hook threw, in the body of its path: RFC 9457, or the envelope of OpenAI or Anthropic under /v1. */
export function createErrorHandler(metrics: Metrics): ErrorHandler {
  return (error, request, reply) => {
    if (isHangUp(error, reply)) return void reply.hijack();
    reply.header('x-request-id', request.id);
    if (error instanceof OpenAiError) {
      metrics.refused(String(error.status));
      return sendOpenAi(error, request, reply);
    }
    const problem = problemOf(error);
    metrics.refused(problem.code);
    if (problem.code === 'internal') request.log.error({ err: error }, 'request failed');
    if (isOpenAiPath(request.url)) return sendOpenAi(openAiError(problem), request, reply);
    void reply
      .code(statusOf[problem.code])
      .headers(problem.headers ?? {})
      .header('content-type', 'application/problem+json')
      .serializer(JSON.stringify)
      .send(problemBody(problem, request.id));
  };
}

/** True for what a wait throws when its caller has gone: there is nobody to tell, and nothing failed. */
function isHangUp(error: unknown, reply: FastifyReply): boolean {
  return reply.raw.destroyed && error instanceof DOMException && error.name === 'AbortError';
}

/** Under /v1 the path says whose words a client reads. */
function sendOpenAi(error: OpenAiError, request: FastifyRequest, reply: FastifyReply): void {
  void reply
    .code(error.status)
    .headers(error.headers)
    .header('content-type', 'application/json; charset=utf-8')
    .serializer(JSON.stringify)
    .send(isAnthropicPath(request.url) ? anthropicErrorBody(error, request.id) : error.body);
}
