import { AIMessage, HumanMessage, SystemMessage, ToolMessage } from '@langchain/core/messages';
import { ChatOpenAI, type ChatOpenAIFields } from '@langchain/openai';
import { describe, expect, test } from 'vitest';
import { z } from 'zod';
import { collect, endOf, shareRealService } from './shared-service.ts';

const shared = shareRealService();

const text = 'one two three four five six seven';
const structured = 'say: Let me see.\ntool: StructuredOutput {"a":1}';
const schema = z.object({ a: z.int() });

function connect(fields: ChatOpenAIFields = {}): ChatOpenAI {
  const { baseURL, apiKey } = shared.settings();
  return new ChatOpenAI({ model: 'sonnet', apiKey, configuration: { baseURL }, ...fields });
}

describe.concurrent('LangChain', () => {
  test('gets a message for a whole conversation', async () => {
    const call = { id: 'call_1', name: 'lookup', args: { a: 1 } };
    const answer = await connect({ temperature: 0 }).invoke([
      new SystemMessage('Be brief.'),
      new HumanMessage('Look it up.'),
      new AIMessage({ content: '', tool_calls: [call] }),
      new ToolMessage({ content: '42', tool_call_id: 'call_1' }),
      new AIMessage('It is 42.'),
      new HumanMessage(`usage: 70 3\nsay: ${text}`),
    ]);
    expect(answer.text).toBe(text);
    expect(answer.usage_metadata).toMatchObject({ input_tokens: 70, output_tokens: 3, total_tokens: 73 });
  });

  test.each([false, true])('gets text as it comes, by responses: %j', async (useResponsesApi) => {
    const chunks = await collect(await connect({ useResponsesApi }).stream(`say: ${text}`));
    const pieces = chunks.map((chunk) => chunk.text).filter((piece) => piece !== '');
    expect(pieces.join('')).toBe(text);
    expect(pieces.length).toBeGreaterThan(1);
    const usage = chunks.flatMap(({ usage_metadata }) => usage_metadata ?? []);
    expect(usage).toMatchObject([{ input_tokens: 100, output_tokens: 20 }]);
  });

  test.each(['jsonSchema', 'functionCalling'] as const)('gets an object, by %s', async (method) => {
    expect(await connect().withStructuredOutput(schema, { method }).invoke(structured)).toEqual({ a: 1 });
  });

  test('gives its place back when it leaves the loop over a stream', async () => {
    const prompt = 'delta-ms: 20\nfill: 100000';
    for await (const { text: piece } of await connect().stream(prompt)) if (piece !== '') break;
    expect(await endOf(shared.get(), prompt)).toMatchObject({ status: 'cancelled', reason: 'client_gone' });
  });
});
