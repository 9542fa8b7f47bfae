import { get, type IncomingMessage } from 'node:http';
import Fastify, { type FastifyReply } from 'fastify';
import { expect, onTestFinished, test } from 'vitest';
import { openSse, type SseWriter } from '../../src/http/sse.ts';
import { whenClosed } from '../../src/http/when-closed.ts';
import { waitFor } from '../helpers/wait.ts';
import { addressOf } from './openai/chat-app.ts';

type Work = (sse: SseWriter, signal: AbortSignal) => Promise<void>;

/** A server whose one route streams what `work` sends. */
async function serve(work: Work, stallMs?: number): Promise<{ read(): Promise<IncomingMessage> }> {
  const app = Fastify();
  app.get('/', async (_request, reply: FastifyReply) => {
    const signal = whenClosed(reply.raw);
    reply.header('x-own', 'kept');
    await work(openSse(reply, signal, stallMs), signal);
    return reply;
  });
  onTestFinished(async () => {
    app.server.closeAllConnections();
    await app.close();
  });
  await app.listen({ host: '127.0.0.1', port: 0 });
  return {
    read: async () =>
      await new Promise((resolve, reject) => {
        get({ host: '127.0.0.1', port: addressOf(app).port }, resolve).on('error', reject);
      }),
  };
}

async function textOf(response: IncomingMessage): Promise<string> {
  let text = '';
  for await (const bytes of response.setEncoding('utf8')) text += String(bytes);
  return text;
}

test('frames and comments go out whole and in order, behind the headers of the reply', async () => {
  const { read } = await serve(async (sse) => {
    await sse.send({ data: '{"a":1}' });
    sse.comment('still here');
    await sse.send({ id: '7', event: 'status', data: '"ü"' });
    sse.end();
  });
  const response = await read();
  expect(response.headers).toMatchObject({
    'x-own': 'kept',
    'content-type': 'text/event-stream; charset=utf-8',
    'cache-control': 'no-cache',
    'x-accel-buffering': 'no',
  });
  expect(await textOf(response)).toBe('data: {"a":1}\n\n: still here\nid: 7\nevent: status\ndata: "ü"\n\n');
});

test('headers go out before the first frame', async () => {
  const gate = Promise.withResolvers<void>();
  const { read } = await serve(async (sse) => {
    await gate.promise;
    sse.end();
  });
  const response = await read();
  expect(response.statusCode).toBe(200);
  gate.resolve();
  expect(await textOf(response)).toBe('');
});

/** More than the buffers between two programs hold. */
const flood = 'x'.repeat(32 * 1024 * 1024);

test('a caller who does not read holds the writer back, takes no comments, and gets everything in the end', async () => {
  let full = false;
  let sent = false;
  const { read } = await serve(async (sse) => {
    const sending = sse.send({ data: flood });
    full = sse.isFull();
    sse.comment('left out');
    await sending;
    sent = true;
    await sse.send({ data: 'last' });
    sse.end();
  });
  const response = await read();
  expect([full, sent]).toEqual([true, false]);
  const text = await textOf(response);
  expect(sent).toBe(true);
  expect(text.length).toBe(flood.length + 'data: \n\ndata: last\n\n'.length);
});

test('a caller who takes nothing for too long is cut off, which aborts the signal', async () => {
  let error: unknown;
  let aborted = false;
  const { read } = await serve(async (sse, signal) => {
    error = await sse.send({ data: flood }).catch((cause: unknown) => cause);
    aborted = signal.aborted;
    // Nothing of this may throw, or reach the process as an event without a listener.
    sse.comment('late');
    error = await sse.send({ data: 'late' }).catch((cause: unknown) => cause);
    sse.end();
  }, 50);
  const response = await read();
  response.on('error', () => {});
  await waitFor(() => error, Boolean);
  expect(aborted).toBe(true);
  expect(error).toMatchObject({ name: 'AbortError' });
});
