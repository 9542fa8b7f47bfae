import type { LightMyRequestResponse } from 'fastify';
import { describe, expect, test } from 'vitest';
import { emptyReport, type JobOutcome } from '../../../src/jobs/job.ts';
import { completed, type ScriptedRun } from '../../helpers/fake-ports.ts';
import { type ChatApp, type ChatAppOptions, createChatApp, token } from '../openai/chat-app.ts';

const usage = {
  input_tokens: 10,
  cache_creation_input_tokens: 2,
  cache_read_input_tokens: 3,
  output_tokens: 7,
  service_tier: 'standard',
};
const headers = { 'x-api-key': token, 'anthropic-version': '2023-06-01' };
const question = { model: 'sonnet', max_tokens: 100, messages: [{ role: 'user', content: 'Hi' }] };
const failed: JobOutcome = { status: 'failed', reason: 'agent_error', error: 'no', report: emptyReport };
const timedOut: JobOutcome = { ...failed, status: 'timeout', reason: 'timeout' };
const tools = [{ name: 'f', description: 'Takes a', input_schema: { type: 'object', properties: {} } }];

const saying =
  (...pieces: readonly string[]) =>
  async (run: ScriptedRun): Promise<JobOutcome> => {
    for (const piece of pieces) {
      run.say(piece);
      await run.heard();
    }
    return completed({ text: pieces.join(''), usage });
  };

async function post({ app }: ChatApp, body: object, url = '/v1/messages'): Promise<LightMyRequestResponse> {
  return await app.inject({ method: 'POST', url, headers, payload: { ...question, ...body } });
}

async function ask(body: object, options: ChatAppOptions = {}): Promise<LightMyRequestResponse> {
  return await post(await createChatApp({ script: async () => completed({ text: 'Hello', usage }), ...options }), body);
}

async function streamed(body: object, options: ChatAppOptions): Promise<readonly Record<string, unknown>[]> {
  const answer = await ask({ ...body, stream: true }, options);
  expect(answer.headers['content-type']).toMatch(/^text\/event-stream/);
  return answer.body.split('\n\n').flatMap((event) => {
    const [, type, data] = /^event: (\S+)\ndata: (.*)$/s.exec(event) ?? [];
    if (data === undefined) return [];
    const read = JSON.parse(data) as Record<string, unknown>;
    expect(read['type']).toBe(type);
    return [read];
  });
}

describe('a message', () => {
  test('has the shape of Anthropic, with what the run used', async () => {
    const answer = await ask({ temperature: 1 });
    expect(answer.statusCode).toBe(200);
    expect(answer.json()).toEqual({
      id: expect.stringMatching(/^msg_/),
      type: 'message',
      role: 'assistant',
      model: 'sonnet',
      content: [{ type: 'text', text: 'Hello', citations: null }],
      stop_reason: 'end_turn',
      stop_sequence: null,
      usage: { input_tokens: 10, cache_creation_input_tokens: 2, cache_read_input_tokens: 3, output_tokens: 7 },
    });
    expect(answer.headers['request-id']).toBe(answer.headers['x-request-id']);
    expect(answer.headers['x-ignored-params']).toBe('temperature, max_tokens');
  });

  test('is asked with every kind of block', async () => {
    const app = await createChatApp();
    const pixel = { type: 'image', source: { type: 'base64', media_type: 'image/png', data: 'AA==' } };
    await post(app, {
      system: [{ type: 'text', text: 'Be brief', cache_control: { type: 'ephemeral' } }],
      messages: [
        { role: 'user', content: [{ type: 'text', text: 'See' }, pixel] },
        {
          role: 'assistant',
          content: [
            { type: 'thinking', thinking: 'hm', signature: 'x' },
            { type: 'text', text: 'I look' },
            { type: 'tool_use', id: 't1', name: 'f', input: { a: 1 } },
          ],
        },
        {
          role: 'user',
          content: [
            { type: 'tool_result', tool_use_id: 't1', content: [{ type: 'text', text: 'no' }], is_error: true },
            { type: 'document', title: 'a.txt', source: { type: 'text', media_type: 'text/plain', data: 'hé' } },
            { type: 'text', text: 'Go on' },
          ],
        },
      ],
      metadata: { user_id: 'me' },
      output_config: { effort: 'high' },
    });
    const spec = (await app.allJobs())[0]?.spec;
    expect(spec).toMatchObject({ systemPrompt: 'Be brief', metadata: { user: 'me' }, effort: 'high' });
    expect(spec?.attachments).toEqual([{ kind: 'image', mediaType: 'image/png', data: 'AA==' }]);
    expect(spec?.prompt).toBe(
      [
        'The conversation so far:',
        '<user>\nSee\n[attached image 1]\n</user>',
        '<assistant>\nI look\n<tool_call id="t1" name="f">\n{"a":1}\n</tool_call>\n</assistant>',
        '<tool tool_call_id="t1">\n<error>\nno\n</error>\n</tool>',
        'The message of the user to answer now:',
        '<file "a.txt">\nhé\n</file>\nGo on',
      ].join('\n\n'),
    );
  });

  test('is cut at a stop sequence, and says at which', async () => {
    const answer = await ask({ stop_sequences: ['l', 'X'] });
    expect(answer.json()).toMatchObject({
      content: [{ text: 'He' }],
      stop_reason: 'stop_sequence',
      stop_sequence: 'l',
    });
  });

  test('that its budget cut short says so', async () => {
    const script = async (): Promise<JobOutcome> => ({
      ...failed,
      reason: 'budget',
      report: { ...emptyReport, text: 'half' },
    });
    expect((await ask({}, { script })).json()).toMatchObject({
      content: [{ text: 'half' }],
      stop_reason: 'max_tokens',
    });
  });

  test.each([[{ type: 'any' }], [{ type: 'tool', name: 'f' }]])('is a use of a tool with %j', async (tool_choice) => {
    const script = async (): Promise<JobOutcome> => completed({ text: '{"a":1}' });
    const answer = await ask({ tools, tool_choice }, { script });
    expect(answer.json()).toMatchObject({
      content: [{ type: 'tool_use', id: expect.stringMatching(/^toolu_/), name: 'f', input: { a: 1 } }],
      stop_reason: 'tool_use',
    });
  });

  test('is JSON where a format says so', async () => {
    const app = await createChatApp({ script: async () => completed({ text: '{"a":1}' }) });
    const answer = await post(app, { output_config: { format: { type: 'json_schema', schema: { type: 'object' } } } });
    expect(answer.json()).toMatchObject({ content: [{ text: '{"a":1}' }] });
    expect((await app.allJobs())[0]?.spec.outputSchema).toEqual({ type: 'object' });
  });
});

describe('a streamed message', () => {
  test('has every event', async () => {
    const events = await streamed({}, { script: saying('Hel', 'lo') });
    expect(events).toMatchObject([
      { type: 'message_start', message: { content: [], stop_reason: null, usage: { output_tokens: 0 } } },
      { type: 'ping' },
      { type: 'content_block_start', index: 0, content_block: { type: 'text', text: '' } },
      { type: 'content_block_delta', index: 0, delta: { type: 'text_delta', text: 'Hel' } },
      { type: 'content_block_delta', index: 0, delta: { type: 'text_delta', text: 'lo' } },
      { type: 'content_block_stop', index: 0 },
      { type: 'message_delta', delta: { stop_reason: 'end_turn' }, usage: { input_tokens: 10, output_tokens: 7 } },
      { type: 'message_stop' },
    ]);
  });

  test('of a tool has its input as JSON', async () => {
    const events = await streamed({ tools, tool_choice: { type: 'any' } }, { script: saying('{"a":1}') });
    expect(events.slice(2, 4)).toMatchObject([
      { type: 'content_block_start', content_block: { type: 'tool_use', name: 'f', input: {} } },
      { type: 'content_block_delta', delta: { type: 'input_json_delta', partial_json: '{"a":1}' } },
    ]);
    expect(events.at(-2)).toMatchObject({ delta: { stop_reason: 'tool_use' } });
  });

  test('says what held it up, and ends in an error where it fails', async () => {
    const events = await streamed({ stop_sequences: ['END'] }, { script: saying('a E', 'N', 'D b') });
    expect(events.filter(({ type }) => type === 'content_block_delta')).toMatchObject([{ delta: { text: 'a ' } }]);
    expect(events.at(-2)).toMatchObject({ delta: { stop_reason: 'stop_sequence', stop_sequence: 'END' } });
    const broken = await streamed({}, { script: async () => failed });
    expect(broken.at(-1)).toMatchObject({ type: 'error', error: { type: 'api_error' } });
  });
});

describe('a message that is refused', () => {
  test.each([
    ['no max_tokens', { max_tokens: undefined }, 'max_tokens'],
    ['no model', { model: undefined }, 'model'],
    ['no messages', { messages: [] }, 'messages'],
    ['an unknown block', { messages: [{ role: 'user', content: [{ type: 'smell' }] }] }, 'messages[0].content[0].type'],
    [
      'an image elsewhere',
      {
        messages: [{ role: 'user', content: [{ type: 'image', source: { type: 'url', url: 'https://example.org' } }] }],
      },
      'messages[0].content[0].source',
    ],
    ['blank text', { messages: [{ role: 'user', content: ' ' }] }, 'messages[0].content'],
    ['an unknown tool', { tool_choice: { type: 'tool', name: 'g' }, tools }, 'tool_choice'],
    [
      'a bad schema',
      { tool_choice: { type: 'any' }, tools: [{ name: 'f', input_schema: { type: 'string' } }] },
      'tools[0].input_schema',
    ],
  ])('with %s is told so', async (_what, body, place) => {
    const answer = await ask(body);
    expect(answer.statusCode).toBe(400);
    expect(answer.json()).toEqual({
      type: 'error',
      error: { type: 'invalid_request_error', message: expect.stringContaining(place) },
      request_id: answer.headers['request-id'],
    });
  });

  test.each([
    [404, 'not_found_error', { model: 'gpt-4o' }, {}],
    [429, 'rate_limit_error', {}, { maxUnfinished: 0 }],
    [500, 'api_error', {}, { script: async () => failed }],
    [504, 'timeout_error', {}, { script: async () => timedOut }],
  ] as const)('with %i is a %s', async (status, type, body, options) => {
    const answer = await ask(body, options);
    expect(answer.statusCode).toBe(status);
    expect(answer.json()).toMatchObject({ type: 'error', error: { type } });
  });

  test('without a token, and with a wrong route, has the same envelope', async () => {
    const { app } = await createChatApp();
    const stranger = await app.inject({ method: 'POST', url: '/v1/messages?beta=true', payload: question });
    expect(stranger.statusCode).toBe(401);
    expect(stranger.json()).toMatchObject({ type: 'error', error: { type: 'authentication_error' } });
    const lost = await app.inject({ method: 'GET', url: '/v1/messages/batches', headers });
    expect(lost.statusCode).toBe(404);
    expect(lost.json()).toMatchObject({ type: 'error', error: { type: 'not_found_error' } });
  });

  test('after its status went out is told in its content', async () => {
    const gate = Promise.withResolvers<void>();
    const app = await createChatApp({
      script: async () => {
        await gate.promise;
        return failed;
      },
      settings: { plainTiming: { headersMs: 10, spaceMs: 5 } },
    });
    const init = {
      method: 'POST',
      headers: { ...headers, 'content-type': 'application/json' },
      body: JSON.stringify(question),
    };
    const response = await fetch(`${await app.listen()}/v1/messages`, init);
    gate.resolve();
    expect(await response.json()).toMatchObject({
      type: 'message',
      stop_reason: 'refusal',
      content: [{ type: 'text', text: expect.stringContaining('failed') }],
      error: { type: 'api_error' },
    });
  });
});

test('a token in x-api-key opens /v1 and nothing else', async () => {
  const { app } = await createChatApp();
  expect((await app.inject({ url: '/v1/models', headers })).statusCode).toBe(200);
  expect((await app.inject({ url: '/v1/models', headers: { 'x-api-key': 'wrong' } })).statusCode).toBe(401);
  expect((await app.inject({ url: '/jobs', headers })).statusCode).toBe(401);
});

test('tokens are estimated without a run', async () => {
  const app = await createChatApp();
  const answer = await post(app, { system: 'Be brief!' }, '/v1/messages/count_tokens');
  expect(answer.json()).toEqual({ input_tokens: 3 });
  expect(await app.allJobs()).toEqual([]);
});
