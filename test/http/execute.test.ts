import { describe, expect, test } from 'vitest';
import { createNativeApp, headers, maxPromptBytes, problemOf } from './native-app.ts';

const prompt = 'Say hi';
const forever = async (): Promise<never> => await new Promise(() => {});

test('a job is taken with 202, its id, its place and where to look', async () => {
  const { execute, get } = await createNativeApp({ capacity: 1, script: forever });
  const first = await execute({ prompt });
  expect(first.statusCode).toBe(202);
  expect(first.json()).toEqual({
    job_id: expect.any(String),
    status: 'queued',
    queue_position: 1,
    expected_start: null,
  });
  const { job_id: id } = first.json<{ job_id: string }>();
  expect(id).toMatch(/^[A-Za-z0-9_-]{22,}$/);
  expect(first.headers.location).toBe(`/jobs/${id}`);
  expect(first.headers['x-request-id']).toMatch(/^req_/);
  expect((await get(`/jobs/${id}`)).json()).toMatchObject({ job_id: id, prompt });
});

test('what is not asked for has the documented defaults', async () => {
  const { submit, finished, runner } = await createNativeApp();
  expect(await finished(await submit({ prompt }))).toMatchObject({ agent: null, model: null, metadata: null });
  const defaults = { prompt, agent: null, model: null, maxBudgetUsd: 5, timeoutMs: 2_700_000, kind: 'execute' };
  expect(runner.runs[0]?.spec).toMatchObject(defaults);
});

const accepted: readonly (readonly [string, Record<string, unknown>, Record<string, unknown>])[] = [
  ['an agent', { agent: 'a' }, { agent: 'a' }],
  ['an agent of 64 characters', { agent: `Z${'9_.:-'.repeat(12)}abc` }, { agent: `Z${'9_.:-'.repeat(12)}abc` }],
  ['no agent, said as null', { agent: null }, { agent: null }],
  ['a model', { model: 'claude-sonnet-4-6' }, { model: 'claude-sonnet-4-6' }],
  ['no model, said as null', { model: null }, { model: null }],
  ['a tiny budget', { max_budget_usd: 0.000_001 }, { maxBudgetUsd: 0.000_001 }],
  ['the largest budget', { max_budget_usd: 1000 }, { maxBudgetUsd: 1000 }],
  ['the shortest timeout', { timeout_seconds: 1 }, { timeoutMs: 1000 }],
  ['the longest timeout', { timeout_seconds: 86_400 }, { timeoutMs: 86_400_000 }],
  ['a whole number with a fraction of zero', { timeout_seconds: 7.0 }, { timeoutMs: 7000 }],
  ['no metadata, said as null', { metadata: null }, { metadata: null }],
  ['empty metadata', { metadata: {} }, { metadata: {} }],
  ['a prompt like an option', { prompt: '--help' }, { prompt: '--help' }],
  ['a prompt of one space', { prompt: ' ' }, { prompt: ' ' }],
  ['a prompt with every kind of line end', { prompt: '\r\n\u2028\t\u0001' }, { prompt: '\r\n\u2028\t\u0001' }],
  ['a prompt beginning with a byte order mark', { prompt: '\uFEFFa' }, { prompt: '\uFEFFa' }],
  ['the longest prompt', { prompt: 'a'.repeat(maxPromptBytes) }, { prompt: 'a'.repeat(maxPromptBytes) }],
  ['the longest prompt, of long characters', { prompt: '😀'.repeat(250) }, { prompt: '😀'.repeat(250) }],
];

test.each(accepted)('%s is taken', async (_name, fields, spec) => {
  const { execute, service } = await createNativeApp();
  const response = await execute({ prompt, ...fields });
  expect(response.statusCode).toBe(202);
  expect((await service.get(response.json<{ job_id: string }>().job_id)).spec).toMatchObject(spec);
});

const names = [
  '',
  ' ',
  '-a',
  '--help',
  '_a',
  '.a',
  'a b',
  'a/b',
  'a\n',
  'a\0',
  'é',
  '😀',
  'a'.repeat(65),
  '../a',
  '$a',
];
const refused: readonly (readonly [string, readonly unknown[]])[] = [
  [
    'prompt',
    ['', 'a\0b', '\ud800', 'a\udc00b', 'a'.repeat(maxPromptBytes + 1), '😀'.repeat(251), 1, null, [], {}, true],
  ],
  ['agent', [...names, 1, [], {}, false]],
  ['model', [...names, 1, [], {}, false]],
  ['max_budget_usd', [0, -1, 1000.01, 1e308, '5', '', null, [], {}, true, -0]],
  ['timeout_seconds', [0, -1, 1.5, 86_401, 1e308, '60', null, [], {}, true]],
  ['push_branch', ['', '-x', '/x', 'HEAD', 'refs/heads/x', 'a..b', 'x.lock', '+x', 'a:b', 'a b', 1, [], {}, true]],
  ['metadata', [[], 'a', 1, true, { a: 'x'.repeat(16 * 1024) }]],
];

test.each(refused.flatMap(([field, values]) => values.map((value) => [field, value] as const)))(
  '%s is refused by name when it is %j',
  async (field, value) => {
    const { execute, runner } = await createNativeApp();
    const response = await execute({ prompt, [field]: value });
    expect(response.statusCode).toBe(400);
    expect(problemOf(response)).toMatchObject({
      code: 'invalid_request',
      detail: expect.stringContaining(field),
      errors: [{ path: field, message: expect.any(String) }],
    });
    expect(runner.runs).toEqual([]);
  },
);

test.each([
  '{"prompt":"a","max_budget_usd":1e309}',
  '{"prompt":"a","max_budget_usd":-1e309}',
  '{"prompt":"a","timeout_seconds":1e309}',
  '{"prompt":"a","timeout_seconds":9007199254740993}',
])('a number that is out of all bounds is refused: %s', async (body) => {
  const { execute } = await createNativeApp();
  const response = await execute(body);
  expect(response.statusCode).toBe(400);
  expect(problemOf(response)['errors']).toHaveLength(1);
});

test.each(['max_budget', 'Prompt', 'timeout', 'constructor', '__proto__', 'toString', '', 'a'.repeat(5000)])(
  'the unknown field %j is refused by name',
  async (name) => {
    const { execute } = await createNativeApp();
    const response = await execute(`{"prompt":"a",${JSON.stringify(name)}:1}`);
    expect(response.statusCode).toBe(400);
    expect(problemOf(response)).toMatchObject({ errors: [{ path: name.slice(0, 200), message: 'unknown field' }] });
  },
);

test('all wrong fields are named at once, up to twenty', async () => {
  const { execute } = await createNativeApp();
  const two = problemOf(await execute({ promt: 'a', agent: '-x' }));
  expect(two['errors']).toHaveLength(3);
  const many = Object.fromEntries(Array.from({ length: 5000 }, (_, n) => [`f${n}`, n]));
  expect(problemOf(await execute({ prompt, ...many }))['errors']).toHaveLength(20);
});

test('a missing prompt is called required', async () => {
  const { execute } = await createNativeApp();
  const response = await execute({});
  expect(response.statusCode).toBe(400);
  expect(problemOf(response)).toEqual({
    type: 'about:blank',
    title: 'Bad Request',
    status: 400,
    detail: 'prompt: required',
    code: 'invalid_request',
    request_id: response.headers['x-request-id'],
    errors: [{ path: 'prompt', message: 'required' }],
  });
});

describe('the body', () => {
  test.each([
    ['empty', ''],
    ['blank', ' \n'],
    ['null', 'null'],
    ['an array', '[]'],
    ['a text', '"prompt"'],
    ['a number', '1'],
    ['cut off', '{"prompt":"a"'],
    ['followed by more', '{"prompt":"a"}{}'],
    ['with a comma too many', '{"prompt":"a",}'],
    ['in single quotes', "{'prompt':'a'}"],
    ['with NaN', '{"prompt":"a","max_budget_usd":NaN}'],
    ['with Infinity', '{"prompt":"a","max_budget_usd":Infinity}'],
    ['with a raw line break in a text', '{"prompt":"a\n"}'],
    ['a form', 'prompt=a'],
    ['not UTF-8', Buffer.from('{"prompt":"\xe9"}', 'latin1')],
    ['a surrogate in UTF-8', Buffer.from('7b2270726f6d7074223a22eda080227d', 'hex')],
    ['UTF-16', Buffer.from('{"prompt":"a"}', 'utf16le')],
    ['nothing but brackets', '['.repeat(200_000)],
    ['nested as deep as it is long', `{"prompt":"a","metadata":${'{"a":'.repeat(20_000)}1${'}'.repeat(20_001)}`],
    ['of more values than anybody needs', `{"prompt":"a","metadata":{"a":[${'1,'.repeat(100_000)}1]}}`],
    ['nothing but quotes and slashes', `"${'\\"'.repeat(100_000)}`],
  ])('%s is refused', async (_name, body) => {
    const { execute } = await createNativeApp();
    const response = await execute(body);
    expect(response.statusCode).toBe(400);
    expect(problemOf(response)).toMatchObject({ code: 'invalid_request', errors: [{ path: '' }] });
  });

  test('may begin with a byte order mark', async () => {
    const { execute } = await createNativeApp();
    expect((await execute('\uFEFF{"prompt":"a"}')).statusCode).toBe(202);
  });

  test('brackets, commas and quotes in texts do not count', async () => {
    const { execute } = await createNativeApp({ deps: { maxPromptBytes: 200_000 } });
    expect((await execute({ prompt: `\\"${'[{'.repeat(200)}\\\\` })).statusCode).toBe(202);
    expect((await execute({ prompt: ','.repeat(150_000) })).statusCode).toBe(202);
  });

  test('the last of two equal keys counts, as everywhere in JavaScript', async () => {
    const { execute, finished } = await createNativeApp();
    const response = await execute('{"prompt":"a","prompt":"b"}');
    expect(await finished(response.json<{ job_id: string }>().job_id)).toMatchObject({ prompt: 'b' });
  });

  test('larger than a prompt can make it is refused with 413', async () => {
    const { execute } = await createNativeApp();
    const response = await execute({ prompt: 'a'.repeat(maxPromptBytes * 6 + 256 * 1024) });
    expect(response.statusCode).toBe(413);
    expect(problemOf(response)).toMatchObject({ code: 'request_too_large', title: 'Payload Too Large' });
  });

  test('the longest prompt is taken however it is written', async () => {
    const { execute } = await createNativeApp();
    const response = await execute(`{"prompt":"${'\\u0001'.repeat(maxPromptBytes)}"}`);
    expect(response.statusCode).toBe(202);
  });

  test.each([
    'text/plain',
    'application/x-www-form-urlencoded',
    'multipart/form-data; boundary=x',
    'application/jsonp',
    'application/json-patch+json',
    'application/problem+json',
    'text/json',
    'application/json, text/plain',
    'json',
    ';',
    'application/json; charset=utf-16',
    'application/json; charset=iso-8859-1',
    'application/json; charset="latin1"',
  ])('of the type %j is refused with 415', async (type) => {
    const { execute } = await createNativeApp();
    const response = await execute({ prompt }, { 'content-type': type });
    expect(response.statusCode).toBe(415);
    expect(problemOf(response)).toMatchObject({ code: 'unsupported_media_type' });
  });

  test('without a type is refused with 415', async () => {
    const { app } = await createNativeApp();
    const { authorization } = headers;
    const payload = Buffer.from('{"prompt":"a"}');
    const response = await app.inject({ method: 'POST', url: '/execute', headers: { authorization }, payload });
    expect(response.statusCode).toBe(415);
  });

  test.each([
    'application/json; charset=utf-8',
    'APPLICATION/JSON',
    'application/json;charset="UTF-8"',
    'application/json; charset=us-ascii',
    'application/json; profile=x',
  ])('of the type %j is taken', async (type) => {
    const { execute } = await createNativeApp();
    expect((await execute({ prompt }, { 'content-type': type })).statusCode).toBe(202);
  });

  test.each(['gzip', 'br', 'x', 'identity, gzip'])('in the encoding %j is refused with 415', async (encoding) => {
    const { execute } = await createNativeApp();
    const response = await execute({ prompt }, { 'content-encoding': encoding });
    expect(response.statusCode).toBe(415);
    expect(problemOf(response)).toMatchObject({ detail: 'Compressed bodies are not accepted' });
  });

  test('in the encoding that is none is taken', async () => {
    const { execute } = await createNativeApp();
    expect((await execute({ prompt }, { 'content-encoding': 'Identity' })).statusCode).toBe(202);
  });
});
