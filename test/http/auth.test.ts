import { describe, expect, test } from 'vitest';
import { createTokenVerifier, tokenDigest } from '../../src/http/auth.ts';
import { createNativeApp, problemOf, token } from './native-app.ts';
import { answersIn, openRaw } from './raw-connection.ts';

const closed = ['/jobs', '/jobs/x', '/jobs/x?wait=1', '/metrics', '/openapi.json', '/docs'];

describe('every route but the probes wants a token', () => {
  test.each([
    ...closed.map((url) => ['GET', url] as const),
    ['POST', '/execute'] as const,
    ['POST', '/jobs/x/cancel'] as const,
  ])('%s %s', async (method, url) => {
    const { app } = await createNativeApp();
    const response = await app.inject({ method, url });
    expect(response.statusCode).toBe(401);
    expect(response.headers['www-authenticate']).toBe('Bearer');
    expect(problemOf(response)).toEqual({
      type: 'about:blank',
      title: 'Unauthorized',
      status: 401,
      detail: 'A valid bearer token is required',
      code: 'unauthenticated',
      request_id: response.headers['x-request-id'],
    });
  });

  test('HEAD too, without a body', async () => {
    const { app } = await createNativeApp();
    const response = await app.inject({ method: 'HEAD', url: '/jobs' });
    expect([response.statusCode, response.headers['www-authenticate'], response.body]).toEqual([401, 'Bearer', '']);
  });

  test.each(['/health', '/livez', '/readyz'])('%s is open, also for a wrong token', async (url) => {
    const { app } = await createNativeApp();
    expect((await app.inject(url)).statusCode).toBe(200);
    expect((await app.inject({ url, headers: { authorization: 'Bearer wrong' } })).statusCode).toBe(200);
  });

  test.each([
    ['GET', '/nothing', 404],
    ['DELETE', '/jobs', 405],
    ['PUT', '/execute', 405],
  ] as const)('%s %s is %i before anybody asks for a token', async (method, url, status) => {
    const { app } = await createNativeApp();
    expect((await app.inject({ method, url })).statusCode).toBe(status);
  });

  test('and is refused before its body is looked at', async () => {
    const { app } = await createNativeApp();
    const headers = { 'content-type': 'text/plain' };
    const response = await app.inject({ method: 'POST', url: '/execute', headers, payload: 'a'.repeat(1_000_000) });
    expect(response.statusCode).toBe(401);
  });
});

test.each([`Bearer ${token}`, `bearer ${token}`, `BEARER ${token}`, `bEaReR   ${token}`])('%j opens', async (value) => {
  const { app } = await createNativeApp();
  expect((await app.inject({ url: '/jobs', headers: { authorization: value } })).statusCode).toBe(200);
});

test.each([
  '',
  ' ',
  'Bearer',
  'Bearer ',
  token,
  `Bearer${token}`,
  `Bearer\t${token}`,
  `Bearer ${token}x`,
  `Bearer ${token.slice(1)}`,
  `Bearer ${token.toUpperCase()}`,
  `Bearer ${token},Bearer ${token}`,
  `Bearer ${token} ${token}`,
  `Bearer "${token}"`,
  `Basic ${Buffer.from(`x:${token}`).toString('base64')}`,
  `Token ${token}`,
  'Bearer null',
  'Bearer undefined',
  'Bearer \u00ff\u00fe',
  'Bearer __proto__',
  `Bearer ${'a'.repeat(10_000)}`,
])('%j does not open', async (value) => {
  const { app } = await createNativeApp();
  const response = await app.inject({ url: '/jobs', headers: { authorization: value } });
  expect(response.statusCode).toBe(401);
  expect(response.body).not.toContain(token);
});

test('a token elsewhere does not open', async () => {
  const { app } = await createNativeApp();
  const response = await app.inject({
    url: `/jobs?access_token=${token}&token=${token}`,
    headers: { cookie: `token=${token}`, 'x-api-key': token, 'proxy-authorization': `Bearer ${token}` },
  });
  expect(response.statusCode).toBe(401);
});

test('two tokens do not open, whichever is right', async () => {
  const nativeApp = await createNativeApp();
  await nativeApp.listen();
  const right = `authorization: Bearer ${token}\r\n`;
  const wrong = 'Authorization: Bearer wrong\r\n';
  for (const lines of [right + wrong, wrong + right, right + right]) {
    const received = await openRaw(
      nativeApp,
      `GET /jobs HTTP/1.1\r\nhost: a\r\nconnection: close\r\n${lines}\r\n`,
    ).closed();
    expect(answersIn(received)).toMatchObject([{ status: 401, headers: { 'www-authenticate': 'Bearer' } }]);
  }
});

describe('the verifier', () => {
  const verify = createTokenVerifier([tokenDigest('one'), tokenDigest('two')]);

  test('knows each of its tokens', () => {
    expect([verify('one'), verify('two')]).toEqual([true, true]);
  });

  test.each(['', 'on', 'one ', 'three', 'ONE', '\u00ff', '\ud800', 'a'.repeat(100_000)])('refuses %j', (text) => {
    expect(verify(text)).toBe(false);
  });

  test('without tokens refuses everything', () => {
    expect(createTokenVerifier([])('')).toBe(false);
  });
});
