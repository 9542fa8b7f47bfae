import { validatorOf } from '../request-error.ts';
import { unsupported } from '../schemas.ts';
import { ResponseRequestSchema } from './schemas.ts';
import { formRequest, messagesOf } from './translate.ts';

/** A completion can be asked for a whole conversation only: to leave out what came before would be to lose it. */
const validate = validatorOf(
  ResponseRequestSchema.refine(({ previous_response_id: id }) => id == null, {
    path: ['previous_response_id'],
    ...unsupported('only supported by POST /v1/responses'),
  }),
);

/**
 * Some clients (Cursor is one) send the body of a response to chat completions, and read a completion. Such a body in the words
 * of chat, or what is wrong with it in its own; anything else as it is, for the schema to judge.
 */
export function chatBody(data: unknown): { readonly value: unknown } | { readonly error: Error } {
  if (!isResponseBody(data)) return { value: data };
  const read = validate(data);
  if ('error' in read) return read;
  const { input, instructions, reasoning, max_output_tokens, ...same } = read.value;
  const system = instructions ? [{ role: 'system', content: instructions }] : [];
  return {
    value: {
      ...same,
      ...formRequest(read.value),
      messages: [...system, ...messagesOf(input).map(({ message }) => message)],
      reasoning_effort: reasoning?.effort,
      max_completion_tokens: max_output_tokens,
    },
  };
}

function isResponseBody(data: unknown): boolean {
  if (typeof data !== 'object' || data === null || !('input' in data)) return false;
  return !('messages' in data) || data.messages === null;
}
