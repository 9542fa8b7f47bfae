import { expect, test } from 'vitest';
import { createChatApp, headers } from './chat-app.ts';

test('the models of the settings are listed, in their order', async () => {
  const { app } = await createChatApp();
  const answer = await app.inject({ url: '/v1/models', headers });
  expect(answer.statusCode).toBe(200);
  const model = { object: 'model', created: expect.any(Number), owned_by: 'anthropic' };
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
