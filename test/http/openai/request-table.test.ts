import type { LightMyRequestResponse } from 'fastify';
import { describe, expect, test } from 'vitest';
import { ResponseRequestSchema } from '../../../src/http/openai/responses/schemas.ts';
import { ChatRequestSchema } from '../../../src/http/openai/schemas.ts';
import { completed } from '../../helpers/fake-ports.ts';
import { createChatApp, headers, question } from './chat-app.ts';
import {
  fullChat,
  fullMessage,
  fullResponse,
  type Nulled,
  nulled,
  requiredInChat,
  requiredInMessage,
  requiredInResponse,
} from './nulled-bodies.ts';
import { type Row, rows } from './request-rows.ts';

const script = async () => completed({ text: '{}' });

const named = (row: Row) => [JSON.stringify(row.body), row] as const;

describe('each row of the contract', () => {
  test.each(rows.filter(({ refused }) => refused === undefined).map(named))('%s is taken', async (_name, row) => {
    const { chat, allJobs } = await createChatApp({ script });
    const answer = await chat({ ...question, ...row.body });
    expect(answer.statusCode).toBe(200);
    const listed = String(answer.headers['x-ignored-params'] ?? '').split(', ');
    expect(listed.includes(row.field)).toBe(row.ignored === true);
    expect((await allJobs())[0]?.spec).toMatchObject(row.job ?? {});
    expect(answer.json()).toMatchObject({ choices: [{ message: row.message ?? {} }] });
  });

  test.each(rows.filter(({ refused }) => refused !== undefined).map(named))('%s is refused', async (_name, row) => {
    const { chat, allJobs } = await createChatApp({ script });
    const answer = await chat({ ...question, ...row.body });
    const error = { type: 'invalid_request_error', code: row.refused, param: row.param };
    expect([answer.statusCode, answer.json()]).toMatchObject([row.status ?? 400, { error }]);
    expect(await allJobs()).toEqual([]);
  });

  test('is there for every field that is read', () => {
    const fields = new Set(rows.map(({ field }) => field));
    expect(Object.keys(ChatRequestSchema.shape).filter((field) => !fields.has(field))).toEqual([]);
  });

  test('is there for null, too', () => {
    expect(Object.keys(ChatRequestSchema.shape).filter((field) => !(field in fullChat))).toEqual([]);
    expect(Object.keys(ResponseRequestSchema.shape).filter((field) => !(field in fullResponse))).toEqual([]);
  });

  test('a stored completion cannot be read', async () => {
    const { app } = await createChatApp();
    const answer = await app.inject({ url: '/v1/chat/completions/chatcmpl-1', headers });
    expect([answer.statusCode, answer.json()]).toMatchObject([404, { error: { code: 'unknown_url' } }]);
  });
});

describe.each([
  ['/v1/chat/completions', nulled(fullChat, requiredInChat)],
  ['/v1/responses', nulled(fullResponse, requiredInResponse)],
  ['/v1/messages', nulled(fullMessage, requiredInMessage)],
] as const)('null in a request to %s', (url, bodies: readonly Nulled[]) => {
  const post = async (payload: object): Promise<LightMyRequestResponse> => {
    const { app } = await createChatApp({ script });
    return await app.inject({ method: 'POST', url, headers, payload });
  };

  test.each(bodies.filter(({ required }) => !required))('is the same as absent: $path', async ({ body }) => {
    const answer = await post(body);
    expect([answer.statusCode, answer.body]).toEqual([200, answer.body]);
  });

  test.each(bodies.filter(({ required }) => required))('is refused with its place: $path', async ({ path, body }) => {
    const answer = await post(body);
    const { error } = answer.json<{ error: { param?: string; message: string } }>();
    expect(answer.statusCode).toBe(400);
    // Parts that are not supported are named as a whole.
    const place = error.param ?? error.message.split(':')[0];
    expect(path === 'stream' ? 'stream_options' : path).toContain(place);
  });
});
