import OpenAI from 'openai';
import { describe, expect, onTestFinished, test } from 'vitest';
import { startMessagesApi } from '../fixtures/messages-api.ts';
import { realClaude } from '../fixtures/run-agent.ts';
import { type ServiceProcess, startServiceProcess, token } from '../helpers/service-process.ts';

/** The real CLI is a large program, and every call starts one. */
const timeout = 120_000;
const parameters = { type: 'object', properties: { a: { type: 'integer' } }, required: ['a'] };
const structured = 'say: Let me see.\ntool: StructuredOutput {"a":1}';

async function connect(): Promise<{ readonly client: OpenAI; readonly service: ServiceProcess }> {
  const api = await startMessagesApi();
  onTestFinished(api.close);
  const service = await startServiceProcess({ env: { CLAUDE_BIN: realClaude, ANTHROPIC_BASE_URL: api.url } });
  return { client: new OpenAI({ baseURL: `${service.url}/v1`, apiKey: token }), service };
}

async function jobCount(service: ServiceProcess): Promise<number> {
  const list = (await (await service.fetch('/jobs?limit=200')).json()) as { readonly jobs: readonly unknown[] };
  return list.jobs.length;
}

describe('a client of the service with the real CLI', { timeout }, () => {
  test('gets text, JSON and calls from chat completions, and pays a failure once', async () => {
    const { client, service } = await connect();
    const create = async (content: string, more: object = {}) =>
      await client.chat.completions.create({ model: 'sonnet', messages: [{ role: 'user', content }], ...more });
    const { data, response } = await client.chat.completions
      .create({ model: 'sonnet', messages: [{ role: 'user', content: 'say: Hello' }] })
      .withResponse();
    expect(data.choices[0]?.message.content).toBe('Hello');
    expect(response.headers.get('x-resolved-model')).toMatch(/^claude-sonnet-/);
    const json = { type: 'json_schema', json_schema: { name: 'f', schema: parameters, strict: true } };
    expect((await create(structured, { response_format: json })).choices[0]?.message.content).toBe('{"a":1}');
    const tools = [{ type: 'function', function: { name: 'f', parameters } }];
    const call = (await create(structured, { tools, tool_choice: 'required' })).choices[0]?.message.tool_calls?.[0];
    expect(call).toMatchObject({ type: 'function', function: { name: 'f', arguments: '{"a":1}' } });
    const before = await jobCount(service);
    for (let attempt = 0; attempt < 3; attempt += 1)
      await expect(create('status: 400')).rejects.toThrow('agent failed');
    expect(await jobCount(service)).toBe(before + 1);
  });

  test('goes on from a response that ran in the background', async () => {
    const { client } = await connect();
    const first = await client.responses.create({ model: 'sonnet', input: 'say: One', background: true });
    const events: string[] = [];
    for await (const event of await client.responses.retrieve(first.id, { stream: true })) events.push(event.type);
    expect(events.at(-1)).toBe('response.completed');
    const second = await client.responses.create({
      model: 'sonnet',
      input: 'say: Two',
      previous_response_id: first.id,
    });
    expect(second.output_text).toContain('Two');
    await client.responses.delete(first.id);
    await expect(client.responses.retrieve(first.id)).rejects.toBeInstanceOf(OpenAI.NotFoundError);
  });

  test('of Anthropic gets a message', async () => {
    const { service } = await connect();
    const body = { model: 'sonnet', max_tokens: 100, messages: [{ role: 'user', content: 'usage: 7 3\nsay: Hello' }] };
    const answer = await service.fetch('/v1/messages', { method: 'POST', body: JSON.stringify(body) });
    expect(await answer.json()).toMatchObject({
      content: [{ type: 'text', text: 'Hello' }],
      usage: { input_tokens: 7, output_tokens: 3 },
    });
  });
});
