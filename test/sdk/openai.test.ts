import OpenAI from 'openai';
import { zodResponseFormat } from 'openai/helpers/zod';
import { describe, expect, test } from 'vitest';
import { z } from 'zod';
import { ask, openAiSdks } from './openai-clients.ts';
import { collect, shareRealService } from './shared-service.ts';

/** What the real CLI and its model have a part in. */
const shared = shareRealService();

const text = 'one two three four five six seven';
const schema = { type: 'object', properties: { a: { type: 'integer' } }, required: ['a'], additionalProperties: false };
const structured = 'say: Let me see.\ntool: StructuredOutput {"a":1}';

describe.concurrent.each(openAiSdks)('$name', (sdk) => {
  test('gets text, with what it cost', async () => {
    const answer = await sdk.create(shared.settings()).chat.completions.create(ask(`usage: 70 3\nsay: ${text}`));
    expect(answer.choices).toMatchObject([{ message: { content: text }, finish_reason: 'stop' }]);
    expect(answer.usage).toMatchObject({ prompt_tokens: 70, completion_tokens: 3, total_tokens: 73 });
  });

  test('gets text as it comes, and its usage last', async () => {
    const body = { ...ask(`say: ${text}`), stream: true as const, stream_options: { include_usage: true } };
    const chunks = await collect(await sdk.create(shared.settings()).chat.completions.create(body));
    const pieces = chunks.flatMap(({ choices }) => choices[0]?.delta.content || []);
    expect(pieces.join('')).toBe(text);
    expect(pieces.length).toBeGreaterThan(1);
    expect(chunks.flatMap(({ choices }) => choices[0]?.finish_reason ?? [])).toEqual(['stop']);
    expect(chunks.at(-1)).toMatchObject({ choices: [], usage: { total_tokens: 120 } });
    expect(chunks.slice(0, -1).every(({ usage }) => usage == null)).toBe(true);
  });

  test('parses an answer that fits a schema', async () => {
    const format = { type: 'json_schema', json_schema: { name: 'answer', strict: true, schema } } as const;
    expect(await sdk.parse(shared.settings(), { ...ask(structured), response_format: format })).toEqual({ a: 1 });
  });

  test('has a function called that must be called', async () => {
    const choice = { type: 'function' as const, function: { name: 'pay' } };
    const body = { ...ask(structured), tools: [tool('lookup'), tool('pay')], tool_choice: choice };
    const answer = await sdk.create(shared.settings()).chat.completions.create(body);
    const call = { id: expect.any(String), type: 'function', function: { name: 'pay', arguments: '{"a":1}' } };
    expect(answer.choices).toMatchObject([
      { message: { content: null, tool_calls: [call] }, finish_reason: 'tool_calls' },
    ]);
  });
});

test.concurrent('openai 7 reads an answer by a schema of zod', async () => {
  const format = zodResponseFormat(z.object({ a: z.int() }), 'answer');
  const { completions } = new OpenAI(shared.settings()).chat;
  const answer = await completions.parse({ ...ask(structured), response_format: format });
  expect(answer.choices[0]?.message.parsed?.a).toBe(1);
});

function tool(name: string) {
  return { type: 'function' as const, function: { name, parameters: schema } };
}
