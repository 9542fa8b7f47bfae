import { describe, expect, test } from 'vitest';
import { createNativeApp, headers } from './native-app.ts';
import {
  answersIn,
  answerTo,
  auth,
  close,
  get,
  host,
  json,
  listening,
  openRaw,
  post,
  problem,
} from './raw-connection.ts';

const forever = async (): Promise<never> => await new Promise(() => {});

describe('a client that sends a large body in vain sees why', () => {
  const large = 'a'.repeat(20_000_000);
  test.each([
    ['too large', post('/execute', `"${large}"`, close), 413],
    ['without a token', post('/execute', large, close).replace(auth, ''), 401],
    ['to no route', post('/nothing', large, close), 404],
    ['of another type', post('/execute', large, close).replace(json, 'content-type: text/plain\r\n'), 415],
  ])('%s', async (_name, text, status) => {
    expect(await answerTo(await listening(), text)).toMatchObject({ status });
  });

  test('also when it only says that it will', async () => {
    const text = `POST /execute HTTP/1.1\r\n${host}${auth}${json}content-length: 99999999999\r\n\r\n{`;
    expect(await answerTo(await listening(), text)).toEqual(problem(413, 'request_too_large'));
  });
});

describe('a slow client is cut off', () => {
  const timeouts = { headersMs: 150, requestMs: 300, checkMs: 50 };

  test.each([
    ['says nothing', ''],
    ['stops in the headers', `GET /health HTTP/1.1\r\n${host}x: `],
    ['stops in the body', post('/execute', '{"prompt":"a"}').slice(0, -3)],
  ])('that %s', async (_name, text) => {
    const nativeApp = await listening({ deps: { timeouts } });
    expect(await answerTo(nativeApp, text)).toEqual(problem(408, 'request_timeout'));
  });

  test('that sends a byte at a time', async () => {
    const nativeApp = await listening({ deps: { timeouts } });
    const connection = openRaw(nativeApp, `GET /health HTTP/1.1\r\n${host}x: `);
    const drip = setInterval(() => connection.socket.write('a'), 20);
    const received = await connection.closed();
    clearInterval(drip);
    expect(answersIn(received)).toMatchObject([{ status: 408 }]);
  });

  test('but not one that waits for its answer', async () => {
    const nativeApp = await listening({ script: forever, deps: { timeouts } });
    const id = await nativeApp.submit();
    expect(await answerTo(nativeApp, get(`/jobs/${id}?wait=1`, close))).toMatchObject({ status: 200 });
  });
});

test('two hundred clients at once are all answered', async () => {
  const nativeApp = await createNativeApp({ maxUnfinished: 150, script: forever });
  const url = await nativeApp.listen();
  const statuses = await Promise.all(
    Array.from({ length: 200 }, async (_, n) => {
      const response = await fetch(`${url}/execute`, { method: 'POST', headers, body: `{"prompt":"${n}"}` });
      await response.text();
      return response.status;
    }),
  );
  expect(statuses.filter((status) => status === 202)).toHaveLength(150);
  expect(statuses.filter((status) => status === 429)).toHaveLength(50);
});
