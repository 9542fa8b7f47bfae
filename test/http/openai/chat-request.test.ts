import { describe, expect, test } from 'vitest';
import { completed } from '../../helpers/fake-ports.ts';
import { createChatApp, headers, question } from './chat-app.ts';
import { refusedBodies } from './refused-bodies.ts';

describe('a request that cannot be taken', () => {
  test.each(refusedBodies)('%s is refused with 400', async (_what, body, code, param) => {
    const { chat, allJobs } = await createChatApp();
    const answer = await chat({ ...question, ...body });
    expect(answer.statusCode).toBe(400);
    expect(answer.json()).toEqual({
      error: { message: expect.stringMatching(/.{10}/), type: 'invalid_request_error', param, code },
    });
    expect(answer.headers['openai-processing-ms']).toMatch(/^\d+$/);
    expect(answer.headers['x-request-id']).toMatch(/^req_/);
    expect(await allJobs()).toEqual([]);
  });

  test.each(['"text"', '[]', 'null', '{', ''])('the body %j is refused without a param', async (payload) => {
    const { app } = await createChatApp();
    const answer = await app.inject({ method: 'POST', url: '/v1/chat/completions', headers, payload });
    expect(answer.statusCode).toBe(400);
    expect(answer.json()).toMatchObject({ error: { type: 'invalid_request_error', param: null, code: null } });
  });

  test('a model that is not served is 404, and the message stays short', async () => {
    const { chat } = await createChatApp();
    const answer = await chat({ ...question, model: 'x'.repeat(500) });
    expect(answer.statusCode).toBe(404);
    expect(answer.json()).toMatchObject({ error: { param: 'model', code: 'model_not_found' } });
    expect(answer.json<{ error: { message: string } }>().error.message.length).toBeLessThan(250);
  });

  test('no token is 401 in the envelope of OpenAI, with the headers of every answer', async () => {
    const { app } = await createChatApp();
    const answer = await app.inject({ method: 'POST', url: '/v1/chat/completions', payload: question });
    expect(answer.statusCode).toBe(401);
    expect(answer.json()).toMatchObject({ error: { code: 'invalid_api_key', param: null } });
    expect(answer.headers).toMatchObject({
      'www-authenticate': 'Bearer',
      'openai-processing-ms': expect.stringMatching(/^\d+$/),
    });
  });

  test('only /v1 tells how long it took', async () => {
    const { app } = await createChatApp();
    expect((await app.inject('/livez')).headers).not.toHaveProperty('openai-processing-ms');
    expect((await app.inject('/v1/nothing')).headers).toHaveProperty('openai-processing-ms');
  });
});

/** What is taken without effect: a value of each field. */
const ignored: Readonly<Record<string, unknown>> = {
  temperature: 0.2,
  top_p: 1,
  presence_penalty: 0,
  frequency_penalty: 0,
  seed: 7,
  logit_bias: { 50256: -100 },
  max_tokens: 100,
  max_completion_tokens: 100,
  verbosity: 'low',
  prediction: { type: 'content', content: 'x' },
  prompt_cache_key: 'k',
  prompt_cache_options: {},
  prompt_cache_retention: '24h',
  service_tier: 'auto',
  store: true,
  safety_identifier: 'me',
  parallel_tool_calls: false,
  web_search_options: {},
  moderation: {},
  tools: [{ type: 'function', function: { name: 'f', parameters: {} } }],
  tool_choice: 'auto',
  functions: [{ name: 'f' }],
  function_call: 'none',
};

describe('a request that can be taken', () => {
  test('fields without effect are accepted and listed', async () => {
    const { chat } = await createChatApp();
    const answer = await chat({ ...question, ...ignored });
    expect(answer.statusCode).toBe(200);
    expect(String(answer.headers['x-ignored-params']).split(', ').sort()).toEqual(Object.keys(ignored).sort());
  });

  test('null is the same as absent for every optional field', async () => {
    const { chat, allJobs } = await createChatApp();
    const others = ['model', 'reasoning_effort', 'stream', 'stream_options', 'user', 'metadata', 'n', 'stop'];
    const more = ['response_format', 'logprobs', 'top_logprobs', 'audio', 'modalities'];
    const nulls = Object.fromEntries([...Object.keys(ignored), ...others, ...more].map((name) => [name, null]));
    const answer = await chat({ ...nulls, messages: question.messages });
    expect(answer.statusCode).toBe(200);
    expect(answer.headers).not.toHaveProperty('x-ignored-params');
    expect((await allJobs())[0]?.spec).toMatchObject({ model: 'sonnet', effort: null, metadata: null });
  });

  test('what asks for nothing special and what is unknown is let through', async () => {
    const { chat } = await createChatApp();
    const plain = {
      n: 1,
      stop: [],
      response_format: { type: 'text' },
      logprobs: false,
      modalities: ['text'],
      tool_choice: 'none',
    };
    const answer = await chat({ ...question, ...plain, vendor_extension: { a: 1 } });
    expect(answer.statusCode).toBe(200);
    expect(answer.headers['x-ignored-params']).toBe('tool_choice');
  });

  test('the body of a response is answered as a chat', async () => {
    const { chat, allJobs } = await createChatApp({ script: async () => completed({ text: '{}' }) });
    const answer = await chat({
      input: [
        { role: 'user', content: [{ type: 'input_text', text: 'Hi' }] },
        { role: 'assistant', content: [{ type: 'output_text', text: 'Hello' }] },
        { role: 'user', content: 'Go on' },
      ],
      instructions: 'Be brief',
      reasoning: { effort: 'high' },
      tools: [{ type: 'web_search' }, { type: 'function', name: 'f', parameters: {} }],
      tool_choice: { type: 'function', name: 'f' },
    });
    expect(answer.json()).toMatchObject({ choices: [{ message: { tool_calls: [{ function: { name: 'f' } }] } }] });
    expect((await allJobs())[0]?.spec).toMatchObject({
      prompt: 'Go on',
      history: [
        { role: 'user', text: 'Hi' },
        { role: 'assistant', text: 'Hello' },
      ],
      systemPrompt: 'Be brief',
      effort: 'high',
      outputSchema: { title: 'f', type: 'object' },
    });
  });

  test.each([
    [{ input: 'Hi', previous_response_id: 'resp_1' }, 'unsupported_value', 'previous_response_id'],
    [{ input: [{ role: 'user', content: 5 }] }, 'invalid_type', 'input[0].content'],
    [{ input: 'Hi', messages: 'Hi' }, 'invalid_type', 'messages'],
  ])('the body of a response that cannot be is refused in its own words: %j', async (body, code, param) => {
    const { chat, allJobs } = await createChatApp();
    const answer = await chat(body);
    expect([answer.statusCode, answer.json()]).toMatchObject([400, { error: { code, param } }]);
    expect(await allJobs()).toEqual([]);
  });

  test('the body of a response may hold null in the place of messages', async () => {
    const { chat } = await createChatApp();
    expect((await chat({ input: 'Hi', messages: null })).statusCode).toBe(200);
  });

  test('the job has the budget, the time and the agent of the settings', async () => {
    const { chat, allJobs } = await createChatApp();
    const answer = await chat({ ...question, model: 'claude-sonnet-4-6' });
    const [job] = await allJobs();
    expect(job?.spec).toEqual({
      kind: 'chat',
      provider: 'claude',
      prompt: 'Hi',
      systemPrompt: null,
      agent: 'helper',
      model: 'claude-sonnet-4-6',
      effort: null,
      maxBudgetUsd: 2,
      timeoutMs: 900_000,
      metadata: null,
    });
    expect(answer.json()).toMatchObject({ model: 'claude-sonnet-4-6' });
    expect(answer.headers['x-job-id']).toBe(job?.id);
  });

  test('without a model the default one answers, by its name', async () => {
    const { chat } = await createChatApp();
    expect((await chat({ messages: question.messages })).json()).toMatchObject({ model: 'sonnet' });
  });

  test.each([
    ['none', 'low'],
    ['minimal', 'low'],
    ['low', 'low'],
    ['medium', 'medium'],
    ['high', 'high'],
    ['xhigh', 'xhigh'],
    ['max', 'max'],
  ])('the effort %s is %s', async (asked, effort) => {
    const { chat, allJobs } = await createChatApp();
    await chat({ ...question, reasoning_effort: asked });
    expect((await allJobs())[0]?.spec.effort).toBe(effort);
  });

  test.each([
    [{ metadata: { team: 'a' } }, { team: 'a' }],
    [{ user: 'me' }, { user: 'me' }],
    [
      { user: 'me', metadata: { team: 'a' } },
      { user: 'me', team: 'a' },
    ],
    [{ user: 'me', metadata: { user: 'you' } }, { user: 'you' }],
  ])('%j becomes the metadata %j', async (body, metadata) => {
    const { chat, allJobs } = await createChatApp();
    await chat({ ...question, ...body });
    expect((await allJobs())[0]?.spec.metadata).toEqual(metadata);
  });
});
