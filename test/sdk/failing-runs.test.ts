import { createAnthropic } from '@ai-sdk/anthropic';
import { createOpenAI } from '@ai-sdk/openai';
import Anthropic from '@anthropic-ai/sdk';
import createInstructor from '@instructor-ai/instructor';
import { ChatOpenAI, type ChatOpenAIFields } from '@langchain/openai';
import { generateText, type LanguageModel, Output, streamText } from 'ai';
import OpenAI from 'openai';
import { beforeAll, describe, expect, test, vi } from 'vitest';
import { z } from 'zod';
import { z as z3 } from 'zod/v3';
import { token } from '../helpers/service-process.ts';
import { hurryRetries } from './hurried-clock.ts';
import { ask, type ClientSettings, openAiSdks } from './openai-clients.ts';
import { collect, jobsOf, rejection, shareFakeService } from './shared-service.ts';

/** Clients try again what failed, each by rules of its own, which are left as they are: a run that cost money is run once. */

const shared = shareFakeService();
const schema = z.object({ a: z.int() });

const n8nFields = { maxRetries: 2, supportsStrictToolCalling: false };

/** Rejects. The prompt is another one for each. */
type Call = (settings: ClientSettings, prompt: string) => PromiseLike<unknown>;
/** How often the client asks; 0 where it brings its own `fetch`, which is not counted. */
type Row = readonly [name: string, tries: number, call: Call];

const openAi = openAiSdks.flatMap(({ name, create }): readonly Row[] => {
  const tries = name === 'openai 4' ? 0 : 1;
  return [
    [`${name}, plain`, tries, (settings, prompt) => create(settings).chat.completions.create(ask(prompt))],
    [
      `${name}, streamed`,
      tries,
      async (settings, prompt) =>
        await collect(await create(settings).chat.completions.create({ ...ask(prompt), stream: true })),
    ],
    [
      `${name}, a response`,
      tries,
      (settings, prompt) => create(settings).responses.create({ model: 'sonnet', input: prompt }),
    ],
    [
      `${name}, a streamed response`,
      tries,
      async (settings, prompt) =>
        failedEvent(await create(settings).responses.create({ model: 'sonnet', input: prompt, stream: true })),
    ],
  ];
});

const models: readonly (readonly [name: string, model: (settings: ClientSettings) => LanguageModel])[] = [
  ['chat', (settings) => createOpenAI(settings).chat('sonnet')],
  ['responses', (settings) => createOpenAI(settings)('sonnet')],
  ['anthropic', (settings) => createAnthropic(settings)('sonnet')],
];

const aiSdk = models.flatMap(([name, model]): readonly Row[] => [
  [`AI SDK ${name}, plain`, 3, async (settings, prompt) => await generateText({ model: model(settings), prompt })],
  [
    `AI SDK ${name}, streamed`,
    1,
    (settings, prompt) => streamedError(streamText({ model: model(settings), prompt, onError: () => {} }).fullStream),
  ],
  [
    `AI SDK ${name}, an object`,
    3,
    async (settings, prompt) =>
      await generateText({ model: model(settings), prompt, output: Output.object({ schema }) }),
  ],
]);

const langChain: readonly Row[] = [
  ['LangChain, plain', 7, (settings, prompt) => chatOpenAi(settings).invoke(prompt)],
  ['LangChain, streamed', 1, async (settings, prompt) => await collect(await chatOpenAi(settings).stream(prompt))],
  ['LangChain, an object', 7, (settings, prompt) => chatOpenAi(settings).withStructuredOutput(schema).invoke(prompt)],
];

/** As its node for chats sets LangChain up. Streamed responses are not among them: LangChain overlooks that one has failed. */
const n8n: readonly Row[] = [
  ['n8n, plain', 3, (settings, prompt) => chatOpenAi(settings, n8nFields).invoke(prompt)],
  [
    'n8n, plain, by responses',
    3,
    (settings, prompt) => chatOpenAi(settings, { ...n8nFields, useResponsesApi: true }).invoke(prompt),
  ],
  ['n8n, streamed', 1, async (settings, prompt) => await collect(await chatOpenAi(settings, n8nFields).stream(prompt))],
];

const others: readonly Row[] = [
  [
    'Instructor',
    1,
    (settings, prompt) =>
      createInstructor({ client: new OpenAI(settings), mode: 'TOOLS' }).chat.completions.create({
        ...ask(prompt),
        response_model: { schema: z3.object({ a: z3.number() }), name: 'Answer' },
      }),
  ],
  ['Anthropic SDK, plain', 1, (_, prompt) => anthropic().messages.create({ ...ask(prompt), max_tokens: 100 })],
  [
    'Anthropic SDK, streamed',
    1,
    async (_, prompt) =>
      await collect(await anthropic().messages.create({ ...ask(prompt), max_tokens: 100, stream: true })),
  ],
];

/** The bodies of all that the clients asked. */
const asked: string[] = [];

beforeAll(hurryRetries);
beforeAll(() => {
  const send = globalThis.fetch;
  vi.stubGlobal('fetch', async (...args: Parameters<typeof fetch>) => {
    const body = args[1]?.body;
    if (typeof body === 'string') asked.push(body);
    return await send(...args);
  });
  // Some say in the log what they were answered, too.
  vi.stubGlobal('AI_SDK_LOG_WARNINGS', false);
  vi.spyOn(console, 'error').mockReturnValue();
  return () => void vi.restoreAllMocks();
});

const rows = [...openAi, ...aiSdk, ...langChain, ...n8n, ...others];

describe.concurrent('a failing run', () => {
  test.each(rows)('is run once for %s', async (name, tries, call) => {
    const prompt = `${name}\nusage: 1000 500\nsay: half an answer\napi-error: 500`;
    const error = await rejection(call(shared.settings(), prompt));
    expect(String(error)).toContain('The agent failed');
    expect(await runsOf(prompt)).toMatchObject([{ reason: 'agent_error', cost_usd: 0.0105 }]);
    expect(asked.filter((body) => body.includes(`"${name}\\n`))).toHaveLength(tries);
  });

  const plain = rows.filter(([name]) => name.endsWith(', plain'));
  test.each(plain)('is run once for %s, where its model was too busy to go on', async (name, _tries, call) => {
    const prompt = `busy, ${name}\nusage: 1000 500\nsay: half an answer\napi-error: 429`;
    const error = await rejection(call(shared.settings(), prompt));
    expect(String(error)).toContain('rate limited');
    expect(await runsOf(prompt)).toMatchObject([{ reason: 'agent_error', cost_usd: 0.0105 }]);
  });
});

/** The runs of one prompt: each call has another one. */
async function runsOf(prompt: string) {
  return (await jobsOf(shared.get())).filter((job) => job['prompt'] === prompt);
}

function chatOpenAi({ baseURL, apiKey }: ClientSettings, fields: ChatOpenAIFields = {}): ChatOpenAI {
  return new ChatOpenAI({ model: 'sonnet', apiKey, configuration: { baseURL }, ...fields });
}

function anthropic(): Anthropic {
  return new Anthropic({ baseURL: shared.get().url, apiKey: token });
}

/** Rejects with the error that is one part of the stream. */
async function streamedError(parts: AsyncIterable<{ readonly type: string; readonly error?: unknown }>): Promise<void> {
  for await (const part of parts) if (part.type === 'error') throw asError(part.error);
}

/** Rejects with the failure that the last event of a response tells. */
async function failedEvent(events: AsyncIterable<{ readonly type: string }>): Promise<void> {
  const last = (await collect(events)).at(-1);
  if (last?.type === 'response.failed') throw new Error(JSON.stringify(last));
}

function asError(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error));
}
