import { STATUS_CODES } from 'node:http';
import type { FastifyError } from 'fastify';
import type { z } from 'zod';
import {
  IdempotencyConflictError,
  JobNotFinalError,
  JobNotFoundError,
  NoChangesError,
  QueueFullError,
  RequestRefused,
  UnavailableError,
  UnknownDependencyError,
} from '../jobs/errors.ts';

/** The only table from a code to an HTTP status. Codes are stable: callers branch on them. */
export const statusOf = {
  unauthenticated: 401,
  forbidden: 403,
  invalid_request: 400,
  unsupported_media_type: 415,
  request_too_large: 413,
  request_timeout: 408,
  headers_too_large: 431,
  not_found: 404,
  method_not_allowed: 405,
  job_not_found: 404,
  range_not_satisfiable: 416,
  idempotency_conflict: 422,
  job_not_final: 409,
  no_changes: 404,
  queue_full: 429,
  unavailable: 503,
  internal: 500,
} as const;

export type ProblemCode = keyof typeof statusOf;

/** One wrong place of a request. `path` as in `messages[0].role`. */
export interface InvalidField {
  readonly path: string;
  readonly message: string;
  /** True where the field is not there at all. */
  readonly missing: boolean;
}

/** A refused request, before it gets the body of its route: RFC 9457, or OpenAI's envelope under /v1. */
export interface Problem {
  readonly code: ProblemCode;
  /** A sentence for a person. Holds no stack, path, errno or token. */
  readonly detail: string;
  readonly errors?: readonly InvalidField[];
  readonly headers?: Readonly<Record<string, string>>;
}

/** A refusal that a route or a hook decides by itself. */
export class ProblemError extends Error {
  readonly problem: Problem;
  constructor(problem: Problem) {
    super(problem.detail);
    this.name = 'ProblemError';
    this.problem = problem;
  }
}

/** What a request held that its schema does not allow. */
export class InvalidRequestError extends ProblemError {
  constructor(errors: readonly InvalidField[]) {
    const detail = errors.map(({ path, message }) => (path === '' ? message : `${path}: ${message}`)).join('; ');
    super({ code: 'invalid_request', detail, errors });
    this.name = 'InvalidRequestError';
  }
}

/** The id of a job to start after that nobody knows. */
export const unknownDependency: InvalidField = { path: 'after', message: 'no such job', missing: false };
/** Seconds after which a refused caller may come back: jobs end by the second, and a client must not hammer. */
const retryAfterSeconds = '5';
/** A body with thousands of wrong places is answered with the first ones. */
const maxErrors = 20;

/** What became of a request that was thrown out. Unknown errors are `internal`: their text is for the log alone. */
export function problemOf(error: unknown): Problem {
  if (error instanceof ProblemError) return error.problem;
  if (error instanceof QueueFullError) {
    return { code: 'queue_full', detail: 'Queue full', headers: { 'retry-after': retryAfterSeconds } };
  }
  if (error instanceof IdempotencyConflictError || error instanceof JobNotFinalError)
    return { code: error.code, detail: error.message };
  if (error instanceof UnknownDependencyError) return new InvalidRequestError([unknownDependency]).problem;
  if (error instanceof JobNotFoundError) return { code: 'job_not_found', detail: 'Job not found' };
  if (error instanceof NoChangesError) return { code: 'no_changes', detail: error.message };
  if (error instanceof UnavailableError || error instanceof RequestRefused) {
    return { code: 'unavailable', detail: error.message, headers: { 'retry-after': retryAfterSeconds } };
  }
  return frameworkProblem(error) ?? { code: 'internal', detail: 'Internal error' };
}

/** The RFC 9457 body of the native API. */
export function problemBody(problem: Problem, requestId: string): Record<string, unknown> {
  const status = statusOf[problem.code];
  return {
    type: 'about:blank',
    title: STATUS_CODES[status] ?? 'Error',
    status,
    detail: problem.detail,
    code: problem.code,
    request_id: requestId,
    ...(problem.errors && { errors: problem.errors.map(({ path, message }) => ({ path, message })) }),
  };
}

/** The wrong places that a zod schema found, in the words of this API; of each place the first thing that is wrong. */
export function invalidFields(issues: readonly z.core.$ZodIssue[]): readonly InvalidField[] {
  const fields = new Map<string, InvalidField>();
  for (const field of issues.flatMap(fieldsOf)) {
    if (fields.size < maxErrors && !fields.has(field.path)) fields.set(field.path, field);
  }
  return [...fields.values()];
}

function fieldsOf(issue: z.core.$ZodIssue): readonly InvalidField[] {
  if (issue.code === 'unrecognized_keys') {
    return issue.keys.map((key) => ({
      path: pathText([...issue.path, key]),
      message: 'unknown field',
      missing: false,
    }));
  }
  const missing = issue.code === 'invalid_type' && issue.input === undefined;
  return [{ path: pathText(issue.path), message: missing ? 'required' : issue.message, missing }];
}

/** `['messages', 0, 'role']` is `messages[0].role`. Bounded: a caller chooses the keys. */
function pathText(path: readonly PropertyKey[]): string {
  const text = path.map((part) => (typeof part === 'number' ? `[${part}]` : `.${String(part)}`)).join('');
  return text.replace(/^\./, '').slice(0, 200);
}

/** Fastify's own refusals, by their codes. */
function frameworkProblem(error: unknown): Problem | undefined {
  if (!isFastifyError(error)) return undefined;
  if (error.code.startsWith('FST_BEARER_AUTH_')) return unauthenticated;
  switch (error.code) {
    case 'FST_ERR_CTP_INVALID_MEDIA_TYPE':
      return { code: 'unsupported_media_type', detail: 'The content type must be application/json' };
    case 'FST_ERR_CTP_BODY_TOO_LARGE':
      return { code: 'request_too_large', detail: 'The request body is too large' };
    case 'FST_ERR_BAD_URL':
    case 'FST_ERR_MAX_PARAM_LENGTH':
      return { code: 'not_found', detail: 'No such route' };
    case 'FST_ERR_CTP_INVALID_CONTENT_LENGTH':
      return { code: 'invalid_request', detail: 'The request body does not match Content-Length' };
    default:
      return error.statusCode !== undefined && error.statusCode >= 400 && error.statusCode < 500
        ? { code: 'invalid_request', detail: 'The request is malformed' }
        : undefined;
  }
}

export const unauthenticated: Problem = {
  code: 'unauthenticated',
  detail: 'A valid bearer token is required',
  headers: { 'www-authenticate': 'Bearer' },
};

function isFastifyError(error: unknown): error is FastifyError {
  return error instanceof Error && 'code' in error && typeof error.code === 'string';
}
