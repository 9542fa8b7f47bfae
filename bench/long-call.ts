import { join } from 'node:path';
import { createOpenAI } from '@ai-sdk/openai';
import { ChatOpenAI } from '@langchain/openai';
import { generateText } from 'ai';
import OpenAI from 'openai';
import OpenAI4 from 'openai-4';
import OpenAI5 from 'openai-5';
import {
  type ClientProgram,
  nodeClients,
  pythonClients,
  type RunningProgram,
  startProgram,
} from '../test/sdk/client-programs.ts';
import { ask, type ClientSettings } from '../test/sdk/openai-clients.ts';
import { print } from './figures.ts';
import { agents, headers, startService } from './running-service.ts';

/** Who has the answer of a plain call that takes long, as a client that nobody set up for it, and how many runs that took. */

type Ask = (settings: ClientSettings, prompt: string) => Promise<unknown>;

/** For a whole run and for what a client may do after it. */
const restSeconds = 300;

const inProcess: readonly (readonly [name: string, ask: Ask])[] = [
  ['fetch of Node', fetchAnswer],
  ['openai 7', async (s, prompt) => textOf(await new OpenAI(s).chat.completions.create(ask(prompt)))],
  ['openai 5', async (s, prompt) => textOf(await new OpenAI5(s).chat.completions.create(ask(prompt)))],
  ['openai 4', async (s, prompt) => textOf(await new OpenAI4(s).chat.completions.create(ask(prompt)))],
  ['AI SDK', async (s, prompt) => (await generateText({ model: createOpenAI(s).chat('sonnet'), prompt })).text],
  ['LangChain', async (s, prompt) => (await langChain(s).invoke(prompt)).text],
];

const programs: readonly (readonly [program: ClientProgram, clients: readonly string[]])[] = [
  [pythonClients, ['openai', 'openai, async', 'Open WebUI']],
  [nodeClients, ['Agents SDK', 'LlamaIndex', 'Mastra']],
];

interface Asked {
  tries: number;
  /** Of the last try, in seconds; NaN where none came. */
  headersAfter: number;
}

const asked = new Map<string, Asked>();
watchFetch();

const seconds = Number(process.argv[2] ?? '900');
await using service = await startService({
  CLAUDE_BIN: join(agents, 'fake-claude.mjs'),
  MAX_CONCURRENCY: '100',
  MAX_QUEUE_DEPTH: '100',
  OPENAI_COMPAT_TIMEOUT_SECONDS: String(seconds + restSeconds),
});
const settings = { baseURL: `${service.url}/v1`, apiKey: headers.authorization.slice('Bearer '.length) };
const running: RunningProgram[] = [];
const calls = inProcess.map(([name, call]) => measured(name, (prompt) => call(settings, prompt)));
for (const [program, clients] of programs) {
  if (!program.isInstalled) {
    print(`not measured, as they are not installed: ${clients.join(', ')}`);
    continue;
  }
  const started = startProgram(program);
  running.push(started);
  for (const client of clients)
    calls.push(measured(`${client} (${program.command[0].split('/').at(-1)})`, askIn(started, client)));
}
for (const line of await Promise.all(calls)) print(line);
for (const { end } of running) await end();

async function measured(name: string, call: (prompt: string) => Promise<unknown>): Promise<string> {
  const prompt = `${name}\nusage: 1000 500\nsleep-ms: ${seconds * 1000}\nsay: at last`;
  const start = performance.now();
  const end = await call(prompt).then(
    (answer) => `has ${JSON.stringify(answer)}`,
    (error: unknown) => `has no answer, but ${String(error)}`,
  );
  const took = ((performance.now() - start) / 1000).toFixed(1);
  const { jobs } = await service.call('/jobs?limit=200');
  const runs = (jobs as readonly Record<string, unknown>[]).filter((job) => String(job['prompt']).includes(prompt));
  const ends = runs.map(({ status }) => String(status)).join(', ');
  const seen = asked.get(prompt);
  const heard = Number.isNaN(seen?.headersAfter)
    ? ''
    : `, headers of the last after ${seen?.headersAfter.toFixed(1)} s`;
  const tries = seen === undefined ? '' : `, tries: ${seen.tries}${heard}`;
  return `${name.padEnd(24)} ${end} after ${took} s; runs: ${runs.length} (${ends})${tries}`;
}

function askIn({ call }: RunningProgram, client: string): (prompt: string) => Promise<unknown> {
  return async (prompt) => {
    const { answer, error, tries } = await call(settings, { client, form: 'plain', prompt });
    asked.set(prompt, { tries, headersAfter: Number.NaN });
    if (error !== undefined) throw new Error(error);
    return answer;
  };
}

function langChain({ baseURL, apiKey }: ClientSettings): ChatOpenAI {
  return new ChatOpenAI({ model: 'sonnet', apiKey, configuration: { baseURL } });
}

async function fetchAnswer({ baseURL }: ClientSettings, prompt: string): Promise<unknown> {
  const body = JSON.stringify(ask(prompt));
  const response = await fetch(`${baseURL}/chat/completions`, { method: 'POST', headers, body });
  return textOf((await response.json()) as Parameters<typeof textOf>[0]);
}

function textOf({
  choices,
}: {
  readonly choices: readonly { readonly message: { readonly content: string | null } }[];
}) {
  return choices[0]?.message.content;
}

/** Counts what is asked by prompt, and when its headers came. */
function watchFetch(): void {
  const send = globalThis.fetch;
  globalThis.fetch = async (input, init) => {
    const text = typeof init?.body === 'string' ? (/"((?:[^"\\]|\\.)*at last)"/.exec(init.body)?.[1] ?? null) : null;
    if (text === null) return await send(input, init);
    const prompt = String(JSON.parse(`"${text}"`));
    const seen = { tries: (asked.get(prompt)?.tries ?? 0) + 1, headersAfter: Number.NaN };
    asked.set(prompt, seen);
    const start = performance.now();
    const response = await send(input, init);
    seen.headersAfter = (performance.now() - start) / 1000;
    return response;
  };
}
