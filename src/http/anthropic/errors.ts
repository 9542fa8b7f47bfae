import type { FastifyInstance } from 'fastify';
import { isOpenAiPath, type OpenAiError } from '../openai/errors.ts';

/** True for the routes whose clients are those of Anthropic. */
export function isAnthropicPath(url: string): boolean {
  return /^\/v1\/messages(?:[/?]|$)/.test(url);
}

/**
 * What these clients do their own way: the token in `x-api-key`, taken anywhere under /v1, and the id of a request in
 * `request-id`. Call before the tokens are checked.
 */
export function useAnthropicHeaders(app: FastifyInstance): void {
  app.addHook('onRequest', (request, reply, done) => {
    const key = request.headers['x-api-key'];
    if (typeof key === 'string' && request.headers.authorization === undefined && isOpenAiPath(request.url))
      request.headers.authorization = `Bearer ${key}`;
    if (isAnthropicPath(request.url)) reply.header('request-id', request.id);
    done();
  });
}

const typeOf: Readonly<Record<number, string>> = {
  401: 'authentication_error',
  402: 'billing_error',
  403: 'permission_error',
  404: 'not_found_error',
  413: 'request_too_large',
  429: 'rate_limit_error',
  500: 'api_error',
  503: 'overloaded_error',
  504: 'timeout_error',
};

/** An error of any route under /v1 in Anthropic's words. */
export function anthropicError({ status, message }: OpenAiError) {
  return { type: typeOf[status] ?? 'invalid_request_error', message };
}

export function anthropicErrorBody(error: OpenAiError, requestId: string) {
  return { type: 'error', error: anthropicError(error), request_id: requestId };
}
