import { ResponseRequestSchema } from './schemas.ts';
import { formRequest, messagesOf } from './translate.ts';

/**
 * Some clients (Cursor is one) send the body of a response to chat completions, and read a completion. Such a body in the words
 * of chat; anything else as it is, for the schema to judge.
 */
export function chatBody(data: unknown): unknown {
  if (typeof data !== 'object' || data === null || !('input' in data) || 'messages' in data) return data;
  const read = ResponseRequestSchema.safeParse(data);
  if (!read.success) return data;
  const { input, instructions, reasoning, max_output_tokens, ...same } = read.data;
  const system = instructions ? [{ role: 'system', content: instructions }] : [];
  return {
    ...same,
    ...formRequest(read.data),
    messages: [...system, ...messagesOf(input).map(({ message }) => message)],
    reasoning_effort: reasoning?.effort,
    max_completion_tokens: max_output_tokens,
  };
}
