// Calls the service with clients for Node that are too heavy to be installed with it, each with the settings that it has by
// itself.
//
// Reads one call per line from standard input, as JSON {id, client, form, base_url, api_key, prompt}, makes them all at the
// same time, and prints how each ended as it does: {id, tries, answer} or {id, tries, error}. `tries` is how often the client
// asked. A streamed answer is the list of its pieces, a structured one an object, any other a text.
import { createInterface } from 'node:readline';
import { OpenAI as LlamaIndexOpenAI, OpenAIResponses as LlamaIndexResponses } from '@llamaindex/openai';
import { Agent as MastraAgent } from '@mastra/core/agent';
import { Agent, OpenAIProvider, Runner, tool } from '@openai/agents';
import OpenAI from 'openai';
import { z } from 'zod';

const model = 'sonnet';
const schema = z.object({ a: z.int() });

/** What was sent, whole. */
const sent = [];
const send = globalThis.fetch;
globalThis.fetch = (input, init) => {
  if (typeof init?.body === 'string') sent.push(init.body);
  return send(input, init);
};

const clients = {
  'Agents SDK': (call) => askAgentsSdk(call, true),
  'Agents SDK, chat': (call) => askAgentsSdk(call, false),
  LlamaIndex: (call) => askLlamaIndex(call, LlamaIndexOpenAI),
  'LlamaIndex, responses': (call) => askLlamaIndex(call, LlamaIndexResponses),
  Mastra: (call) => askMastra(call, 'chat'),
  'Mastra, responses': (call) => askMastra(call, 'responses'),
  'Mastra, trying again': (call) => askMastra(call, 'chat', { maxRetries: 2 }),
  'Cline 3': askCline,
};

for await (const line of createInterface({ input: process.stdin })) void perform(JSON.parse(line));

async function perform(call) {
  const end = await clients[call.client](call).then(
    (answer) => ({ answer }),
    (error) => ({ error: String(error) }),
  );
  const text = JSON.stringify(call.prompt).slice(1, -1);
  console.log(JSON.stringify({ id: call.id, tries: sent.filter((body) => body.includes(text)).length, ...end }));
}

async function askAgentsSdk({ form, base_url, api_key, prompt }, useResponses) {
  const modelProvider = new OpenAIProvider({ baseURL: base_url, apiKey: api_key, useResponses });
  const runner = new Runner({ modelProvider, tracingDisabled: true });
  const lookup = tool({
    name: 'lookup',
    description: 'Looks it up.',
    parameters: schema,
    execute: () => 'not to be called',
  });
  const agent = new Agent({
    name: 'Assistant',
    instructions: 'Be brief.',
    model,
    tools: [lookup],
    ...(form === 'parsed' && { outputType: schema, tools: [] }),
  });
  if (form !== 'streamed') return (await runner.run(agent, prompt)).finalOutput;
  const result = await runner.run(agent, prompt, { stream: true });
  const pieces = await Array.fromAsync(result.toTextStream());
  await result.completed;
  return pieces;
}

async function askLlamaIndex({ form, base_url, api_key, prompt }, Client) {
  const client = new Client({ model, apiKey: api_key, baseURL: base_url });
  const messages = [{ role: 'user', content: prompt }];
  if (form === 'streamed') {
    const chunks = await Array.fromAsync(await client.chat({ messages, stream: true }));
    return chunks.map(({ delta }) => delta).filter((delta) => delta !== '');
  }
  const answer = await client.chat({ messages, ...(form === 'parsed' && { responseFormat: schema }) });
  return form === 'parsed' ? JSON.parse(answer.message.content) : answer.message.content;
}

async function askMastra({ form, base_url, api_key, prompt }, api, settings = {}) {
  const agent = new MastraAgent({
    id: 'assistant',
    name: 'assistant',
    instructions: 'Be brief.',
    model: { id: `service/${model}`, url: base_url, apiKey: api_key, api },
    ...settings,
  });
  if (form === 'streamed') {
    const stream = await agent.stream(prompt);
    const pieces = await Array.fromAsync(stream.textStream);
    if (stream.error !== undefined) throw stream.error;
    return pieces;
  }
  const options = form === 'parsed' ? { structuredOutput: { schema } } : {};
  const answer = await agent.generate(prompt, options);
  if (answer.error !== undefined) throw answer.error;
  return form === 'parsed' ? answer.object : answer.text;
}

/** Version 3 streams with the SDK of OpenAI, and begins a call anew that ends with 429, three tries in all. */
async function askCline({ base_url, api_key, prompt }) {
  const client = new OpenAI({ baseURL: base_url, apiKey: api_key });
  for (let left = 2; ; left -= 1) {
    try {
      const stream = await client.chat.completions.create({
        model,
        messages: [
          { role: 'system', content: 'Be brief.' },
          { role: 'user', content: [{ type: 'text', text: prompt }] },
        ],
        temperature: 0,
        stream: true,
        stream_options: { include_usage: true },
      });
      return await Array.fromAsync(piecesOf(stream));
    } catch (error) {
      if (error.status !== 429 || left === 0) throw error;
      const seconds = Number(error.headers?.get('retry-after') ?? 2 ** (2 - left));
      await new Promise((resolve) => setTimeout(resolve, seconds * 1000));
    }
  }
}

async function* piecesOf(stream) {
  for await (const { choices } of stream) if (choices[0]?.delta.content) yield choices[0].delta.content;
}
