import Anthropic from '@anthropic-ai/sdk';
import { zodOutputFormat } from '@anthropic-ai/sdk/helpers/zod';
import { describe, expect, test } from 'vitest';
import { z } from 'zod';
import { token } from '../helpers/service-process.ts';
import { ask } from './openai-clients.ts';
import { endOf, rejection, shareRealService } from './shared-service.ts';

const shared = shareRealService();

const text = 'one two three four five six seven';
const structured = 'say: Let me see.\ntool: StructuredOutput {"a":1}';

function connect(apiKey = token): Anthropic {
  return new Anthropic({ baseURL: shared.get().url, apiKey });
}

function message(content: string) {
  return { ...ask(content), max_tokens: 100 };
}

describe.concurrent('the Anthropic SDK', () => {
  test('gets a message, with what it cost', async () => {
    const answer = await connect().messages.create({ ...message(`usage: 70 3\nsay: ${text}`), system: 'Be brief.' });
    expect(answer).toMatchObject({ content: [{ type: 'text', text }], stop_reason: 'end_turn' });
    expect(answer.usage).toMatchObject({ input_tokens: 70, output_tokens: 3 });
  });

  test('gets a message as it comes', async () => {
    const pieces: string[] = [];
    const stream = connect()
      .messages.stream(message(`say: ${text}`))
      .on('text', (piece) => pieces.push(piece));
    expect(await stream.finalMessage()).toMatchObject({
      content: [{ type: 'text', text }],
      stop_reason: 'end_turn',
      usage: { input_tokens: 100, output_tokens: 20 },
    });
    expect(pieces.join('')).toBe(text);
    expect(pieces.length).toBeGreaterThan(1);
  });

  test('has a tool called that must be called', async () => {
    const tools = ['lookup', 'pay'].map((name) => ({
      name,
      input_schema: { type: 'object' as const, properties: {} },
    }));
    const tool_choice = { type: 'tool', name: 'pay' } as const;
    const answer = await connect().messages.create({ ...message(structured), tools, tool_choice });
    expect(answer).toMatchObject({
      content: [{ type: 'tool_use', name: 'pay', input: { a: 1 } }],
      stop_reason: 'tool_use',
    });
  });

  test('parses an answer that fits a schema', async () => {
    const format = zodOutputFormat(z.object({ a: z.int() }));
    const answer = await connect().messages.parse({ ...message(structured), output_config: { format } });
    expect(answer.parsed_output).toEqual({ a: 1 });
  });

  test('gets an estimate of the tokens', async () => {
    const { input_tokens } = await connect().messages.countTokens(ask('x'.repeat(400)));
    expect(input_tokens).toBe(100);
  });

  test('has its own class of error for each refusal', async () => {
    const { messages } = connect();
    const unauthenticated = await rejection(connect('wrong').messages.create(message('Hi')));
    expect(unauthenticated).toBeInstanceOf(Anthropic.AuthenticationError);
    expect(unauthenticated).toMatchObject({ status: 401, type: 'authentication_error' });
    const wrong = await rejection(messages.create({ ...message('Hi'), max_tokens: 0 }));
    expect(wrong).toBeInstanceOf(Anthropic.BadRequestError);
    expect(wrong).toMatchObject({ status: 400, type: 'invalid_request_error', requestID: expect.any(String) });
    const unknown = await rejection(messages.create({ ...message('Hi'), model: 'gpt-4o' }));
    expect(unknown).toBeInstanceOf(Anthropic.NotFoundError);
    expect(unknown).toMatchObject({ status: 404, type: 'not_found_error' });
  });

  test('gives its place back when its stream is aborted', async () => {
    const prompt = 'delta-ms: 20\nfill: 100000';
    const stream = connect().messages.stream(message(prompt));
    const ended = rejection(stream.done());
    await new Promise((resolve) => stream.once('text', resolve));
    stream.abort();
    expect(await ended).toBeInstanceOf(Anthropic.APIUserAbortError);
    expect(await endOf(shared.get(), prompt)).toMatchObject({ status: 'cancelled', reason: 'client_gone' });
  });
});
