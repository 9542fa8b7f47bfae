import { createAnthropic } from '@ai-sdk/anthropic';
import { createOpenAI } from '@ai-sdk/openai';
import { generateObject, generateText, type LanguageModel, streamText, type ToolSet } from 'ai';
import { beforeAll, describe, expect, test, vi } from 'vitest';
import { z } from 'zod';
import type { ClientSettings } from './openai-clients.ts';
import { collect, endOf, shareRealService } from './shared-service.ts';

const shared = shareRealService();

const text = 'one two three four five six seven';
const structured = 'say: Let me see.\ntool: StructuredOutput {"a":1}';
const schema = z.object({ a: z.int() });

const models: readonly (readonly [api: string, model: (settings: ClientSettings) => LanguageModel])[] = [
  ['chat', (settings) => createOpenAI(settings).chat('sonnet')],
  ['responses', (settings) => createOpenAI(settings)('sonnet')],
  ['anthropic', (settings) => createAnthropic(settings)('sonnet')],
];

beforeAll(() => {
  // It says that it does not know the model.
  vi.stubGlobal('AI_SDK_LOG_WARNINGS', false);
  return () => void vi.unstubAllGlobals();
});

describe.concurrent.each(models)('the AI SDK, by %s,', (_api, modelOf) => {
  test('generates text', async () => {
    const prompt = `usage: 70 3\nsay: ${text}`;
    const answer = await generateText({ model: modelOf(shared.settings()), instructions: 'Be brief.', prompt });
    expect(answer).toMatchObject({ text, finishReason: 'stop' });
    expect(answer.usage).toMatchObject({ inputTokens: 70, outputTokens: 3, totalTokens: 73 });
  });

  test('streams text', async () => {
    const stream = streamText({ model: modelOf(shared.settings()), prompt: `say: ${text}` });
    const pieces = await collect(stream.textStream);
    expect(pieces.join('')).toBe(text);
    expect(pieces.length).toBeGreaterThan(1);
    expect(await stream.finishReason).toBe('stop');
    expect(await stream.usage).toMatchObject({ inputTokens: 100, outputTokens: 20 });
  });

  test('generates an object', async () => {
    const answer = await generateObject({ model: modelOf(shared.settings()), prompt: structured, schema });
    expect(answer.object).toEqual({ a: 1 });
  });

  test('has a tool called that must be called', async () => {
    const tools: ToolSet = { lookup: { inputSchema: schema }, pay: { inputSchema: schema } };
    const toolChoice = { type: 'tool', toolName: 'pay' } as const;
    const answer = await generateText({ model: modelOf(shared.settings()), prompt: structured, tools, toolChoice });
    expect(answer.toolCalls).toMatchObject([{ toolName: 'pay', input: { a: 1 } }]);
  });
});

test.concurrent('the AI SDK gives its place back when its stream is aborted', async () => {
  const prompt = 'delta-ms: 20\nfill: 100000';
  const controller = new AbortController();
  const model = createOpenAI(shared.settings()).chat('sonnet');
  const stream = streamText({ model, prompt, abortSignal: controller.signal });
  for await (const { type } of stream.fullStream) if (type === 'text-delta') controller.abort();
  expect(await endOf(shared.get(), prompt)).toMatchObject({ status: 'cancelled', reason: 'client_gone' });
});
