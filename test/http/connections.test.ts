import { randomBytes } from 'node:crypto';
import { pino } from 'pino';
import { describe, expect, test } from 'vitest';
import { waitFor } from '../helpers/wait.ts';
import { asRecord, type NativeApp } from './native-app.ts';
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
describe('what is not HTTP is 400, and the connection is closed', () => {
  test.each([
    ['a word', 'hello\r\n\r\n'],
    ['a TLS greeting', '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03'],
    ['HTTP/2', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'],
    ['an unknown version', `GET / HTTP/9.9\r\n${host}\r\n`],
    ['an unknown method', `FOO / HTTP/1.1\r\n${host}\r\n`],
    ['line feeds alone', 'GET /health HTTP/1.1\nhost: a\n\n'],
    ['a folded header', `GET /health HTTP/1.1\r\n${host}x: a\r\n b\r\n\r\n`],
    ['NUL in a header', `GET /health HTTP/1.1\r\n${host}x: a\0b\r\n\r\n`],
    ['a header without a colon', `GET /health HTTP/1.1\r\n${host}x\r\n\r\n`],
    ['a blank before the colon', `GET /health HTTP/1.1\r\n${host}x : a\r\n\r\n`],
    ['a path with a blank', `GET /jobs/a b HTTP/1.1\r\n${host}\r\n`],
    ['two lengths', `POST /execute HTTP/1.1\r\n${host}${auth}content-length: 2\r\ncontent-length: 3\r\n\r\n{}`],
    ['a negative length', `POST /execute HTTP/1.1\r\n${host}${auth}content-length: -1\r\n\r\n{}`],
    ['a length and chunks', post('/execute', '0\r\n\r\n', 'transfer-encoding: chunked\r\n')],
    ['a broken chunk', `POST /execute HTTP/1.1\r\n${host}${auth}${json}transfer-encoding: chunked\r\n\r\nzz\r\n`],
    ['zeros', '\0'.repeat(100_000)],
  ])('%s', async (_name, text) => {
    const nativeApp = await listening();
    expect(await answerTo(nativeApp, text)).toEqual(problem(400, 'invalid_request'));
    expect((await nativeApp.get('/health')).statusCode).toBe(200);
  });

  test('also when more of it keeps coming', async () => {
    const nativeApp = await listening();
    const connection = openRaw(nativeApp, 'hello\r\n\r\n');
    await waitFor(connection.received, (text) => text.endsWith('}'));
    for (let n = 0; n < 20; n += 1) connection.socket.write(randomBytes(10_000));
    expect(answersIn(await connection.closed())).toHaveLength(1);
  });

  test('also when the client then neither sends nor closes', async () => {
    const nativeApp = await listening();
    const connection = openRaw(nativeApp, 'hello\r\n\r\n');
    await connection.closed();
    expect(
      await waitFor(
        () => connections(nativeApp),
        (count) => count === 0,
      ),
    ).toBe(0);
  });
});

async function connections({ app }: NativeApp): Promise<number> {
  const { promise, resolve, reject } = Promise.withResolvers<number>();
  app.server.getConnections((error, count) => (error === null ? resolve(count) : reject(error)));
  return await promise;
}

test.each([
  ['no host', `GET /health HTTP/1.1\r\n\r\n`],
  ['two hosts', `GET /health HTTP/1.1\r\n${host}host: b\r\n\r\n`],
  [
    'an unknown transfer coding',
    `POST /execute HTTP/1.1\r\n${host}${auth}${json}transfer-encoding: gzip, chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n`,
  ],
])('a request with %s is refused', async (_name, text) => {
  expect(await answerTo(await listening(), text)).toEqual(problem(400, 'invalid_request'));
});

test('headers of more than 16 KiB are 431', async () => {
  const nativeApp = await listening();
  for (const text of [get('/health', `x: ${'a'.repeat(20_000)}\r\n`), get(`/jobs/${'a'.repeat(20_000)}`)]) {
    expect(await answerTo(nativeApp, text)).toEqual(problem(431, 'headers_too_large'));
  }
});

describe('under /v1 the same is told in the words of OpenAI', () => {
  const path = '/v1/chat/completions';
  test.each([
    ['headers that are too large', get(path, `x: ${'a'.repeat(20_000)}\r\n`), 431],
    ['a broken chunk', `POST ${path} HTTP/1.1\r\n${host}${auth}${json}transfer-encoding: chunked\r\n\r\nzz\r\n`, 400],
    ['two lengths', `POST ${path} HTTP/1.1\r\n${host}${auth}content-length: 2\r\ncontent-length: 3\r\n\r\n{}`, 400],
    ['half a body', post(path, '{"messages":[]}').slice(0, -3), 408],
  ])('%s', async (_name, text, status) => {
    const nativeApp = await listening({ deps: { timeouts: { headersMs: 150, requestMs: 300, checkMs: 50 } } });
    const answer = await answerTo(nativeApp, text);
    expect(answer).toMatchObject({ status, headers: { 'content-type': 'application/json; charset=utf-8' } });
    expect(answer.headers['x-request-id']).toMatch(/^req_/);
    const error = { message: expect.any(String), type: 'invalid_request_error', param: null };
    expect(JSON.parse(answer.body)).toMatchObject({ error });
  });
});

describe('the path tells whose words, in whatever form it comes', () => {
  const openAi = expect.stringMatching(
    /^\{"error":\{"message":"[^"]+","type":"invalid_request_error","param":null,"code":/,
  );
  test.each([
    ['GET', 'http://a/v1/nothing', 404, openAi],
    ['GET', 'HTTP://a:80/v1?x=1', 404, openAi],
    ['PUT', 'http://a/v1/models', 405, openAi],
    ['GET', '/v%31/nothing', 404, openAi],
    ['PUT', '/%761/models', 405, openAi],
    ['GET', 'http://a', 404, expect.stringContaining('"code":"not_found"')],
    ['GET', 'http://a?/v1', 404, expect.stringContaining('"code":"not_found"')],
    ['PUT', 'http://a/jobs', 405, expect.stringContaining('"code":"method_not_allowed"')],
    ['GET', '/%6aobs', 200, expect.stringContaining('"jobs":[')],
    ['GET', '/jobs/http://a', 404, expect.stringContaining('"code":"not_found"')],
    ['GET', '/%2531', 404, expect.stringContaining('"code":"not_found"')],
  ])('%s %s', async (method, target, status, body) => {
    const text = `${method} ${target} HTTP/1.1\r\n${host}${auth}${close}\r\n`;
    expect(await answerTo(await listening(), text)).toMatchObject({ status, body });
  });

  test('a request that is no HTTP too', async () => {
    const text = `GET http://a/v1/models HTTP/1.1\r\n${host}content-length: -1\r\n\r\n`;
    const headers = { 'openai-processing-ms': '0' };
    expect(await answerTo(await listening(), text)).toMatchObject({ status: 400, headers, body: openAi });
  });
});

test('this is no proxy', async () => {
  const answer = await answerTo(await listening(), 'CONNECT a:1 HTTP/1.1\r\nhost: a:1\r\n\r\n');
  expect(answer).toEqual(problem(405, 'method_not_allowed'));
  expect(answer.headers['allow']).toEqual(expect.any(String));
});

test.each([
  ['HTTP/1.0', 'GET /health HTTP/1.0\r\n\r\n'],
  ['an absolute address', `GET http://a/health HTTP/1.1\r\n${host}${close}\r\n`],
  ['a wish to upgrade', `GET /health HTTP/1.1\r\n${host}connection: upgrade, close\r\nupgrade: websocket\r\n\r\n`],
  ['a body that nobody reads', `GET /health HTTP/1.1\r\n${host}${close}content-length: 2\r\n\r\n{}`],
  ['a leading empty line', `\r\nGET /health HTTP/1.1\r\n${host}${close}\r\n`],
])('%s is answered', async (_name, text) => {
  expect(await answerTo(await listening(), text)).toMatchObject({ status: 200 });
});

test.each(['/jobs/../health', '/./health', '/health/.', '//health'])('the path %s is not tidied up', async (path) => {
  expect(await answerTo(await listening(), get(path, close))).toEqual(problem(404, 'not_found'));
});

test('a client that asks whether to go on is told so, and an unknown expectation is left unmet', async () => {
  const nativeApp = await listening();
  const body = '{"prompt":"a"}';
  const received = await openRaw(nativeApp, post('/execute', body, `expect: 100-continue\r\n${close}`)).closed();
  expect(received).toMatch(/^HTTP\/1\.1 100 Continue\r\n\r\nHTTP\/1\.1 202 /);
  expect(await answerTo(nativeApp, post('/execute', body, `expect: tea\r\n${close}`))).toMatchObject({ status: 202 });
});

test('requests on one connection are answered in their order', async () => {
  const texts = [get('/health'), post('/execute', '{}'), get('/nothing'), get('/jobs/x'), get('/livez', close)];
  const received = await openRaw(await listening(), texts.join('')).closed();
  expect(answersIn(received).map(({ status }) => status)).toEqual([200, 400, 404, 404, 200]);
});

test('what follows a request does not take the place of its answer', async () => {
  const gate = Promise.withResolvers<void>();
  const nativeApp = await listening({
    jobs: (jobs) => ({
      list: async (query) => {
        await gate.promise;
        return await jobs.list(query);
      },
    }),
  });
  const connection = openRaw(nativeApp, `${get('/jobs')}garbage\r\n\r\n`);
  connection.socket.write('more garbage');
  setImmediate(gate.resolve);
  expect(answersIn(await connection.closed()).map(({ status }) => status)).toEqual([200, 400]);
});

describe('a client that has said all it has to say still gets its answer', () => {
  test('to a submission', async () => {
    const nativeApp = await listening();
    const connection = openRaw(nativeApp, post('/execute', '{"prompt":"a"}'));
    connection.socket.end();
    expect(answersIn(await connection.closed())).toMatchObject([{ status: 202 }]);
  });

  test('to a wait', async () => {
    const gate = Promise.withResolvers<never>();
    const nativeApp = await listening({ script: async () => await gate.promise });
    const connection = openRaw(nativeApp, get(`/jobs/${await nativeApp.submit()}?wait=60`));
    connection.socket.end();
    await waitFor(
      () => nativeApp.runner.runs.length,
      (count) => count === 1,
    );
    gate.reject(new Error('the agent broke'));
    const [answer] = answersIn(await connection.closed());
    expect(asRecord(JSON.parse(answer?.body ?? ''))).toMatchObject({ status: 'error' });
  });

  test('but of a chat that is how hanging up looks, so the job is cancelled', async () => {
    const nativeApp = await listening({ script: forever });
    const connection = openRaw(nativeApp, post('/v1/chat/completions', '{"messages":[{"role":"user","content":"a"}]}'));
    await waitFor(
      () => nativeApp.runner.runs.length,
      (count) => count === 1,
    );
    connection.socket.end();
    expect(await connection.closed()).toBe('');
    await waitFor(
      async () => (await nativeApp.get('/jobs')).json<{ jobs: { reason: unknown }[] }>().jobs[0]?.reason,
      (reason) => reason === 'client_gone',
    );
  });

  test('but half a body is 400', async () => {
    const nativeApp = await listening();
    const connection = openRaw(nativeApp, post('/execute', '{"prompt":"a"}').slice(0, -3));
    connection.socket.end();
    expect(answersIn(await connection.closed())).toMatchObject([{ status: 400 }]);
    expect((await nativeApp.get('/jobs')).json()).toMatchObject({ jobs: [] });
  });
});

test('a client that leaves a wait is no fault, and changes nothing', async () => {
  const lines: string[] = [];
  const log = pino({ level: 'debug' }, { write: (line: string) => void lines.push(line) });
  let waiting = 0;
  const nativeApp = await listening({
    script: forever,
    deps: { log },
    jobs: (jobs) => ({
      wait: async (...wait) => {
        waiting += 1;
        return await jobs.wait(...wait).finally(() => (waiting -= 1));
      },
    }),
  });
  const id = await nativeApp.submit();
  const connection = openRaw(nativeApp, get(`/jobs/${id}?wait=60`));
  await waitFor(() => waiting, Boolean);
  connection.socket.resetAndDestroy();
  await waitFor(
    () => waiting,
    (count) => count === 0,
  );
  expect((await nativeApp.get(`/jobs/${id}`)).json()).toMatchObject({ status: 'running' });
  expect(lines.filter((line) => /"level":(?:40|50|60)/.test(line))).toEqual([]);
});
