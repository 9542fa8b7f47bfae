import OpenAI from 'openai';
import { describe, expect, test } from 'vitest';
import { emptyReport, type JobOutcome } from '../../../src/jobs/job.ts';
import { completed } from '../../helpers/fake-ports.ts';
import { type ChatApp, type ChatAppOptions, createChatApp, headers, token } from './chat-app.ts';

const usage = { input_tokens: 10, cache_read_input_tokens: 3, output_tokens: 7 };
const failed: JobOutcome = { status: 'failed', reason: 'agent_error', error: 'no', report: emptyReport };
async function connect(options: ChatAppOptions = {}): Promise<ChatApp & { client: OpenAI }> {
  const app = await createChatApp(options);
  return { ...app, client: new OpenAI({ baseURL: `${await app.listen()}/v1`, apiKey: token }) };
}

/** What Open Responses requires of every response. */
const keys =
  'id object created_at completed_at status incomplete_details model previous_response_id instructions output error tools tool_choice truncation parallel_tool_calls text top_p presence_penalty frequency_penalty top_logprobs temperature reasoning usage max_output_tokens max_tool_calls store background service_tier metadata safety_identifier prompt_cache_key'.split(
    ' ',
  );

describe('a response', () => {
  test('is answered with all its keys', async () => {
    const { client, allJobs } = await connect({ script: async () => completed({ text: 'Hello', usage }) });
    const { data, response } = await client.responses
      .create({
        model: 'sonnet',
        input: 'Hi',
        instructions: 'Be brief',
        temperature: 0.5,
        reasoning: { effort: 'high' },
        metadata: { team: 'a' },
        tools: [{ type: 'function', name: 'f', parameters: {}, strict: true }],
      })
      .withResponse();
    expect(
      Object.keys(data)
        .filter((key) => !key.startsWith('output_text') && !key.startsWith('_'))
        .sort(),
    ).toEqual(keys.toSorted());
    const [job] = await allJobs();
    expect(data).toMatchObject({
      id: job?.id.replace('job_', 'resp_'),
      status: 'completed',
      model: 'sonnet',
      output_text: 'Hello',
      output: [
        {
          type: 'message',
          role: 'assistant',
          status: 'completed',
          content: [{ type: 'output_text', text: 'Hello', annotations: [] }],
        },
      ],
      usage: {
        input_tokens: 13,
        input_tokens_details: { cached_tokens: 3, cache_write_tokens: 0 },
        output_tokens: 7,
        output_tokens_details: { reasoning_tokens: 0 },
        total_tokens: 20,
      },
      instructions: 'Be brief',
      temperature: 0.5,
      reasoning: { effort: 'high' },
      metadata: { team: 'a' },
      tools: [{ type: 'function', name: 'f', strict: true, description: null }],
      text: { format: { type: 'text' } },
    });
    expect(job?.spec).toMatchObject({
      kind: 'chat',
      prompt: 'Hi',
      systemPrompt: 'Be brief',
      effort: 'high',
      metadata: { team: 'a' },
    });
    expect(response.headers.get('x-job-id')).toBe(job?.id);
    expect(response.headers.get('x-ignored-params')).toBe('temperature, tools');
  });

  test('takes every kind of item', async () => {
    const { client, allJobs } = await connect();
    await client.responses.create({
      model: 'sonnet',
      input: [
        { role: 'developer', content: 'Be brief' },
        {
          role: 'user',
          content: [
            { type: 'input_text', text: 'See' },
            { type: 'input_image', image_url: 'data:image/png;base64,AA==', detail: 'auto' },
          ],
        },
        {
          type: 'message',
          role: 'assistant',
          content: [{ type: 'output_text', text: 'I see', annotations: [] }],
          id: 'msg_1',
          status: 'completed',
        },
        { type: 'reasoning', id: 'rs_1', summary: [] },
        { type: 'function_call', call_id: 'call_1', name: 'f', arguments: '{}' },
        { type: 'function_call_output', call_id: 'call_1', output: 'done' },
        { role: 'user', content: 'Go on' },
      ],
    });
    const spec = (await allJobs())[0]?.spec;
    expect(spec?.systemPrompt).toBe('Be brief');
    expect(spec?.prompt).toBe(
      [
        'The conversation so far:',
        '<user>\nSee\n[attached image 1]\n</user>',
        '<assistant>\nI see\n</assistant>',
        '<assistant>\n<tool_call id="call_1" name="f">\n{}\n</tool_call>\n</assistant>',
        '<tool tool_call_id="call_1">\ndone\n</tool>',
        'The message of the user to answer now:',
        'Go on',
      ].join('\n\n'),
    );
    expect(spec?.attachments).toHaveLength(1);
  });

  test('is JSON where a format says so', async () => {
    const { client, allJobs } = await connect({ script: async () => completed({ text: '{"a":1}' }) });
    const schema = { type: 'object', properties: { a: { type: 'integer' } } };
    const format = { type: 'json_schema', name: 'f', schema, strict: true } as const;
    const answer = await client.responses.parse({ model: 'sonnet', input: 'Hi', text: { format } });
    expect(answer.output_parsed).toEqual({ a: 1 });
    expect(answer.text?.format).toMatchObject(format);
    expect((await allJobs())[0]?.spec.outputSchema).toEqual({ title: 'f', ...schema });
  });

  test('is the call of a function that must be called, and goes on from it', async () => {
    const { client, allJobs } = await connect({ script: async () => completed({ text: '{"a":1}' }) });
    const tools = [{ type: 'function' as const, name: 'f', parameters: { type: 'object' }, strict: false }];
    const answer = await client.responses.create({
      model: 'sonnet',
      input: 'Hi',
      tools,
      tool_choice: { type: 'function', name: 'f' },
    });
    const [call] = answer.output;
    expect(call).toMatchObject({
      type: 'function_call',
      name: 'f',
      arguments: '{"a":1}',
      call_id: expect.stringMatching(/^call_/),
    });
    await client.responses.create({
      model: 'sonnet',
      previous_response_id: answer.id,
      input: [
        { type: 'function_call_output', call_id: call?.type === 'function_call' ? call.call_id : '', output: 'ok' },
        { role: 'user', content: 'And now?' },
      ],
    });
    const prompt = (await allJobs())[0]?.spec.prompt ?? '';
    expect(prompt).toMatch(/<user>\nHi\n<\/user>[^]+name="f">\n\{"a":1\}[^]+<tool [^]+ok[^]+And now\?$/);
  });

  test('goes on from an earlier one, without its instructions', async () => {
    const { client, allJobs } = await connect();
    const first = await client.responses.create({ model: 'sonnet', input: 'One', instructions: 'Shout' });
    const second = await client.responses.create({ model: 'sonnet', input: 'Two', previous_response_id: first.id });
    await client.responses.create({ model: 'sonnet', input: 'Three', previous_response_id: second.id });
    expect(second.previous_response_id).toBe(first.id);
    const [third] = await allJobs();
    expect(third?.spec.systemPrompt).toBeNull();
    expect(third?.spec.prompt).toBe('Three');
    expect(third?.spec.history).toEqual([
      { role: 'user', text: 'One' },
      { role: 'assistant', text: 'Hello' },
      { role: 'user', text: 'Two' },
      { role: 'assistant', text: 'Hello' },
    ]);
  });

  test.each([
    ['conversation', { conversation: 'conv_1' }, 'unsupported_value', 'conversation'],
    ['no input', { input: undefined }, 'missing_required_parameter', 'input'],
    ['empty input', { input: [] }, 'invalid_value', 'input'],
    ['blank input', { input: ' ' }, 'invalid_value', 'input'],
    ['an unknown item', { input: [{ type: 'smell' }] }, 'invalid_value', 'input[0].type'],
    ['a reference', { input: [{ type: 'item_reference', id: 'x' }] }, 'unsupported_value', 'input[0]'],
    [
      'an image elsewhere',
      { input: [{ role: 'user', content: [{ type: 'input_image', image_url: 'https://example.org/a.png' }] }] },
      'unsupported_value',
      'input[0].content[0]',
    ],
    [
      'an item without a role',
      { input: [{ type: 'message', content: 'x' }] },
      'missing_required_parameter',
      'input[0].role',
    ],
    [
      'NUL',
      {
        input: [
          { role: 'user', content: 'a' },
          { role: 'user', content: '\0' },
        ],
      },
      'invalid_value',
      'input[1].content',
    ],
    [
      'a schema that is none',
      { text: { format: { type: 'json_schema', name: 'a', schema: { type: 'array' } } } },
      'invalid_value',
      'text.format.schema.type',
    ],
    [
      'a bad function',
      { tools: [{ type: 'function', name: 'f', parameters: { type: 'string' } }], tool_choice: 'required' },
      'invalid_value',
      'tools[0].parameters.type',
    ],
    ['background without store', { background: true, store: false }, 'invalid_value', 'background'],
    [
      'an unknown previous one',
      { previous_response_id: 'resp_1' },
      'previous_response_not_found',
      'previous_response_id',
    ],
    ['text as stream', { stream: 'yes' }, 'invalid_type', 'stream'],
  ])('with %s is refused', async (_what, body, code, param) => {
    const { app, allJobs } = await createChatApp();
    const payload = { model: 'sonnet', input: 'Hi', ...body };
    const answer = await app.inject({ method: 'POST', url: '/v1/responses', headers, payload });
    expect(answer.statusCode).toBe(400);
    expect(answer.json()).toEqual({
      error: { message: expect.any(String), type: 'invalid_request_error', param, code },
    });
    expect(await allJobs()).toEqual([]);
  });

  test('that fails is an error, once, and a failed response to those who read it', async () => {
    const { client, runner, allJobs } = await connect({ script: async () => failed });
    const error = await client.responses.create({ model: 'sonnet', input: 'Hi' }).catch((cause: unknown) => cause);
    expect(error).toMatchObject({ status: 500, code: 'agent_failed' });
    expect(runner.runs).toHaveLength(1);
    const id = (await allJobs())[0]?.id.replace('job_', 'resp_') ?? '';
    expect(await client.responses.retrieve(id)).toMatchObject({
      status: 'failed',
      error: { code: 'server_error' },
      output: [],
    });
  });
});
