import type { Socket } from 'node:net';
import type { FastifyReply, FastifyRequest } from 'fastify';
import type { Metrics } from '../telemetry/metrics.ts';
import { anthropicErrorBody, isAnthropicPath } from './anthropic/errors.ts';
import { type Problem, problemBody, problemOf, statusOf } from './errors.ts';
import { isOpenAiPath, OpenAiError, openAiError } from './openai/errors.ts';
import { newRequestId } from './request-id.ts';

type ErrorHandler = (error: unknown, request: FastifyRequest, reply: FastifyReply) => void;

/** Answers whatever a route or a hook threw, in the body of its path: RFC 9457, or the envelope of OpenAI or Anthropic under /v1. */
export function createErrorHandler(metrics: Metrics): ErrorHandler {
  return (error, request, reply) => {
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

/** Under /v1 the path says whose words a client reads. */
function sendOpenAi(error: OpenAiError, request: FastifyRequest, reply: FastifyReply): void {
  void reply
    .code(error.status)
    .headers(error.headers)
    .header('content-type', 'application/json; charset=utf-8')
    .serializer(JSON.stringify)
    .send(isAnthropicPath(request.url) ? anthropicErrorBody(error, request.id) : error.body);
}

/** What is not HTTP gets an answer by hand, in the shape of all others, and the connection is closed. */
export function answerBrokenRequest(error: NodeJS.ErrnoException, socket: Socket): void {
  if (error.code === 'ECONNRESET' || !socket.writable) return void socket.destroy();
  const problem = brokenRequestProblem(error.code);
  const id = newRequestId();
  const body = JSON.stringify(problemBody(problem, id));
  const status = statusOf[problem.code];
  socket.end(
    `HTTP/1.1 ${status} Error\r\ncontent-type: application/problem+json\r\nx-request-id: ${id}\r\n` +
      `content-length: ${Buffer.byteLength(body)}\r\nconnection: close\r\n\r\n${body}`,
  );
}

function brokenRequestProblem(code: string | undefined): Problem {
  if (code === 'HPE_HEADER_OVERFLOW') return { code: 'headers_too_large', detail: 'The request headers are too large' };
  if (code === 'ERR_HTTP_REQUEST_TIMEOUT')
    return { code: 'request_timeout', detail: 'The request took too long to arrive' };
  return { code: 'invalid_request', detail: 'The request is not valid HTTP' };
}
