import { type Problem, type ProblemCode, statusOf } from '../errors.ts';

/** A refusal in OpenAI's words. All four keys are always there: openai-node reads only `body.error`, an object. */
export interface OpenAiErrorBody {
  readonly error: {
    readonly message: string;
    readonly type: string;
    readonly param: string | null;
    readonly code: string | null;
  };
}

/** A refusal or a failed run of a /v1 route. Thrown; `http/app.ts` renders it. */
export class OpenAiError extends Error {
  readonly status: number;
  readonly body: OpenAiErrorBody;
  readonly headers: Readonly<Record<string, string>>;
  constructor(status: number, error: OpenAiErrorBody['error'], headers: Readonly<Record<string, string>> = {}) {
    super(error.message);
    this.name = 'OpenAiError';
    this.status = status;
    this.body = { error };
    this.headers = headers;
  }
}

/** True for everything that an OpenAI client can reach with its base URL. */
export function isOpenAiPath(url: string): boolean {
  return /^\/v1(?:[/?]|$)/.test(url);
}

/** A request that cannot be taken as it is. `param` is the path of the wrong place. */
export function badRequest(message: string, param: string | null, code: string | null): OpenAiError {
  return new OpenAiError(400, { message, type: 'invalid_request_error', param, code });
}

/** A model's name is the caller's: of a long one the message shows the beginning. */
const shownModelCharacters = 100;

export function modelNotFound(model: string): OpenAiError {
  const message = `The model '${model.slice(0, shownModelCharacters)}' does not exist; GET /v1/models lists those that do`;
  return new OpenAiError(404, { message, type: 'invalid_request_error', param: 'model', code: 'model_not_found' });
}

/** Any refused request in OpenAI's envelope. */
export function openAiError(problem: Problem): OpenAiError {
  const [type, code] = envelopeOf[problem.code];
  const first = problem.errors?.[0];
  const shouldRetry = retried[problem.code];
  return new OpenAiError(
    statusOf[problem.code],
    {
      message: problem.detail,
      type,
      param: first === undefined || first.path === '' ? null : first.path,
      code:
        first === undefined || first.path === ''
          ? code
          : first.missing
            ? 'missing_required_parameter'
            : 'invalid_value',
    },
    { ...problem.headers, ...(shouldRetry !== undefined && { 'x-should-retry': String(shouldRetry) }) },
  );
}

const envelopeOf: Readonly<Record<ProblemCode, readonly [type: string, code: string | null]>> = {
  unauthenticated: ['invalid_request_error', 'invalid_api_key'],
  forbidden: ['invalid_request_error', 'forbidden'],
  invalid_request: ['invalid_request_error', null],
  unsupported_media_type: ['invalid_request_error', 'unsupported_media_type'],
  request_too_large: ['invalid_request_error', 'request_too_large'],
  request_timeout: ['invalid_request_error', 'request_timeout'],
  headers_too_large: ['invalid_request_error', 'headers_too_large'],
  not_found: ['invalid_request_error', 'unknown_url'],
  method_not_allowed: ['invalid_request_error', 'method_not_supported'],
  no_changes: ['invalid_request_error', null],
  job_not_found: ['invalid_request_error', 'not_found'],
  range_not_satisfiable: ['invalid_request_error', null],
  idempotency_conflict: ['invalid_request_error', 'idempotency_conflict'],
  job_not_final: ['invalid_request_error', 'job_not_final'],
  queue_full: ['rate_limit_error', 'queue_full'],
  unavailable: ['server_error', 'service_unavailable'],
  internal: ['server_error', 'internal_error'],
};

/** Whether the SDK may try again: nothing was spent yet in these two. */
const retried: Partial<Readonly<Record<ProblemCode, boolean>>> = { queue_full: true, unavailable: true };
