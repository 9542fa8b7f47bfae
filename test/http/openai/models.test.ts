import { describe, expect, test, vi } from 'vitest';
import { createLogger } from '../../../src/telemetry/logger.ts';
import { completed, createFakeStore } from '../../helpers/fake-ports.ts';
import { waitFor } from '../../helpers/wait.ts';
import { type ChatApp, createChatApp, headers, question } from './chat-app.ts';

test('the models of the settings are listed, in their order', async () => {
  const { app } = await createChatApp();
  const answer = await app.inject({ url: '/v1/models', headers });
  expect(answer.statusCode).toBe(200);
  const model = { object: 'model', created: expect.any(Number), owned_by: 'anthropic', resolved_model: null };
  expect(answer.json()).toEqual({
    object: 'list',
    data: ['haiku', 'sonnet', 'claude-sonnet-4-6'].map((id) => ({ id, ...model })),
  });
  expect(answer.headers['openai-processing-ms']).toMatch(/^\d+$/);
  const { created } = answer.json<{ data: { created: number }[] }>().data[0] ?? { created: 0 };
  expect(Math.abs(created - Date.now() / 1000)).toBeLessThan(60);
});

test('one model can be read by its name', async () => {
  const { app } = await createChatApp();
  const answer = await app.inject({ url: '/v1/models/claude-sonnet-4-6', headers });
  expect(answer.statusCode).toBe(200);
  expect(answer.json()).toMatchObject({ id: 'claude-sonnet-4-6', object: 'model' });
});

describe('what the name of a model stands for', () => {
  const resolvedAs = (resolvedModel: string) => ({ script: async () => completed({ text: 'x', resolvedModel }) });
  const shown = async ({ app }: ChatApp): Promise<unknown> =>
    (await app.inject({ url: '/v1/models/sonnet', headers })).json<{ resolved_model: unknown }>().resolved_model;

  test('is shown once a run has used it, in the list, too', async () => {
    const chatApp = await createChatApp(resolvedAs('claude-sonnet-4-6'));
    expect(await shown(chatApp)).toBeNull();
    await chatApp.chat(question);
    expect(await shown(chatApp)).toBe('claude-sonnet-4-6');
    const list = await chatApp.app.inject({ url: '/v1/models', headers });
    const { data } = list.json<{ data: { resolved_model: string | null }[] }>();
    expect(data.map((model) => model.resolved_model)).toEqual([null, 'claude-sonnet-4-6', null]);
  });

  test('is still known to the next process, which logs that it stands for another one', async () => {
    const store = createFakeStore();
    await (await createChatApp({ ...resolvedAs('claude-sonnet-4-6'), store })).chat(question);
    const log = createLogger('silent');
    const warnings = vi.spyOn(log, 'warn');
    const next = await createChatApp({ ...resolvedAs('claude-sonnet-5-5'), store, deps: { log } });
    expect(await shown(next)).toBe('claude-sonnet-4-6');
    expect((await next.app.inject({ url: '/v1/models/sonnet', headers })).headers).toMatchObject({
      'x-resolved-model': 'claude-sonnet-4-6',
    });
    expect(warnings).not.toHaveBeenCalled();
    await next.chat(question);
    expect(warnings.mock.calls).toEqual([
      [{ model: 'sonnet', before: 'claude-sonnet-4-6', now: 'claude-sonnet-5-5' }, expect.stringContaining('another')],
    ]);
    expect(await shown(next)).toBe('claude-sonnet-5-5');
  });

  test('is learnt from a run in the background, too', async () => {
    const chatApp = await createChatApp(resolvedAs('claude-sonnet-4-6'));
    await chatApp.app.inject({
      method: 'POST',
      url: '/v1/responses',
      headers,
      payload: { model: 'sonnet', input: 'Hi', background: true },
    });
    const seen = waitFor(
      () => shown(chatApp),
      (model) => model !== null,
    );
    expect(await seen).toBe('claude-sonnet-4-6');
  });
});

test.each(['gpt-4o', '', 'a%2Fb'])('the model %j is not there', async (id) => {
  const { app } = await createChatApp();
  const answer = await app.inject({ url: `/v1/models/${id}`, headers });
  expect(answer.statusCode).toBe(404);
  expect(answer.json()).toMatchObject({
    error: { type: 'invalid_request_error', param: 'model', code: 'model_not_found' },
  });
});

test('models need a token', async () => {
  const { app } = await createChatApp();
  expect((await app.inject('/v1/models')).statusCode).toBe(401);
});

test('the document of the API has these routes, with both forms of the answer', async () => {
  const { app } = await createChatApp();
  const answer = await app.inject({ url: '/openapi.json', headers });
  const { paths } = answer.json<{ paths: Record<string, Record<string, { responses: Record<string, unknown> }>> }>();
  expect(paths).toHaveProperty(['/v1/models/{id}', 'get']);
  const chat = paths['/v1/chat/completions']?.['post'];
  expect(chat).toHaveProperty(['requestBody', 'content', 'application/json', 'schema', 'properties', 'messages']);
  expect(Object.keys(chat?.responses ?? {}).sort()).toEqual('200 400 401 404 413 415 422 429 500 503 504'.split(' '));
  expect(chat?.responses['200']).toMatchObject({ content: { 'application/json': {}, 'text/event-stream': {} } });
});
