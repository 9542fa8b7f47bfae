import { describe, expect, test } from 'vitest';
import { createNativeApp, headers, problemOf } from './native-app.ts';

const routes = [
  ['/execute', 'POST'],
  ['/jobs', 'GET, HEAD'],
  ['/jobs/x', 'DELETE, GET, HEAD'],
  ['/jobs/x/ack', 'POST'],
  ['/jobs/x/changes', 'GET, HEAD'],
  ['/jobs/x/diff', 'GET, HEAD'],
  ['/jobs/x/retry', 'POST'],
  ['/webhooks/dead', 'GET, HEAD'],
  ['/webhooks/x/resend', 'POST'],
  ['/jobs/x/events', 'GET'],
  ['/jobs/x/log', 'GET, HEAD'],
  ['/jobs/x/cancel', 'POST'],
  ['/health', 'GET, HEAD'],
  ['/livez', 'GET, HEAD'],
  ['/readyz', 'GET, HEAD'],
  ['/metrics', 'GET, HEAD'],
  ['/openapi.json', 'GET, HEAD'],
  ['/docs', 'GET, HEAD'],
] as const;
const methods = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', 'TRACE', 'PROPFIND', 'QUERY', 'SEARCH'];

describe.each(routes)('%s', (url, allow) => {
  test.each(methods.filter((method) => !allow.split(', ').includes(method)))('does not allow %s', async (method) => {
    const { app } = await createNativeApp();
    const response = await app.inject({ method: method as 'PUT', url: `${url}?a=b` });
    expect(response.statusCode).toBe(405);
    expect(response.headers['allow']).toBe(allow);
    const problem = method === 'HEAD' ? {} : problemOf(response);
    expect(problem).toMatchObject(method === 'HEAD' ? {} : { status: 405, code: 'method_not_allowed' });
  });
});

describe.each(routes.filter(([, allow]) => allow.includes('HEAD')))('%s', (url) => {
  test('answers HEAD as GET, without the body', async () => {
    const { app, get } = await createNativeApp();
    const head = await app.inject({ method: 'HEAD', url, headers });
    const body = await get(url);
    expect(head.body).toBe('');
    expect(head.statusCode).toBe(body.statusCode);
    expect(head.headers['content-type']).toBe(body.headers['content-type']);
  });
});

test.each([
  '/',
  '/nothing',
  '/execute/',
  '//execute',
  '/EXECUTE',
  '/Jobs',
  '/jobs//',
  '//jobs',
  '/jobs/x/',
  '/jobs/x/y',
  '/health/',
  '/docs/index.html',
  '/openapi.yaml',
  '/swagger',
  '/favicon.ico',
  '/.env',
  '/jobs%2fx',
  '/%00',
  '/%zz',
  '/chat/completion',
])('%s is no route, with and without a token', async (url) => {
  const { app } = await createNativeApp();
  for (const more of [{}, { headers }]) {
    const response = await app.inject({ url, ...more });
    expect(response.statusCode).toBe(404);
    expect(problemOf(response)).toMatchObject({ title: 'Not Found', status: 404, code: 'not_found' });
  }
});

test.each([
  ['text/plain', 'a'],
  ['application/json', '{'],
  ['application/json', `"${'a'.repeat(1_000_000)}"`],
])('what is sent to no route is not looked at: %s', async (type, payload) => {
  const { app } = await createNativeApp();
  const more = { headers: { 'content-type': type }, payload };
  expect((await app.inject({ method: 'POST', url: '/nothing', ...more })).statusCode).toBe(404);
  expect((await app.inject({ method: 'PUT', url: '/execute', ...more })).statusCode).toBe(405);
});

describe('x-request-id', () => {
  test.each(['/health', '/jobs', '/nothing', '/jobs/x', '/jobs?limit=x', '/%zz', '/v1/nothing'])(
    'is on the answer of %s, new each time',
    async (url) => {
      const { get } = await createNativeApp();
      const ids = [(await get(url)).headers['x-request-id'], (await get(url)).headers['x-request-id']];
      expect(ids).toEqual([expect.stringMatching(/^req_[\w-]{32}$/), expect.stringMatching(/^req_[\w-]{32}$/)]);
      expect(ids[0]).not.toBe(ids[1]);
    },
  );

  test.each(['a', 'A-1.b:c_d', '0'.repeat(128), '4bf92f35-77b3-4da6-a3ce-929d0e0e4736'])(
    '%s is the caller’s own',
    async (id) => {
      const { app } = await createNativeApp();
      for (const url of ['/health', '/nothing', '/jobs', '/%zz']) {
        const response = await app.inject({ url, headers: { 'x-request-id': id } });
        expect(response.headers['x-request-id']).toBe(id);
      }
    },
  );

  test.each(['', ' ', 'a b', 'a\tb', '<script>', 'a,b', 'a"b', 'é', '$(id)', '{}', 'a/b', '0'.repeat(129)])(
    '%j is not taken over',
    async (id) => {
      const { app } = await createNativeApp();
      const response = await app.inject({ url: '/nothing', headers: { 'x-request-id': id } });
      expect(response.headers['x-request-id']).toMatch(/^req_/);
      expect(problemOf(response)['request_id']).not.toBe(id);
    },
  );
});
