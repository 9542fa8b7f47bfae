import { describe, expect, test } from 'vitest';
import { createNativeApp, problemOf } from './native-app.ts';

describe('metadata', () => {
  const nested = (depth: number): string => `${'{"a":'.repeat(depth - 1)}{}${'}'.repeat(depth - 1)}`;
  const ofBytes = (bytes: number): string => `{"é":"${'x'.repeat(bytes - 9)}"}`;

  test.each([
    '{"__proto__":{"polluted":1}}',
    '{"constructor":{"prototype":{"polluted":1}},"toString":null,"hasOwnProperty":1}',
    '{"toJSON":"x","then":"y","valueOf":[]}',
    '{"a":[1,-0.5,1e300,true,null,"\\ud800","\\u0000",{"":{}}]}',
    '{"number":12345678901234567890,"big":1e309,"one":1.0,"small":1e-400,"zero":-0,"exponent":1E+2,"list":[0.10]}',
    '{"\\u0000json":"{}"}',
    '{"\\u0000json":"{\\"a\\":1.0}","n":2.0}',
    nested(32),
    ofBytes(16 * 1024),
  ])('is given back unchanged, in a job and in a list: %s', async (metadata) => {
    const { execute, get } = await createNativeApp();
    const response = await execute(`{"metadata":${metadata},"prompt":"a"}`);
    expect(response.statusCode).toBe(202);
    const { job_id: id } = response.json<{ job_id: string }>();
    expect((await get(`/jobs/${id}`)).body).toContain(`"metadata":${metadata},`);
    expect((await get('/jobs')).body).toContain(`"metadata":${metadata},`);
    expect(Object.prototype).not.toHaveProperty('polluted');
  });

  test.each([
    ['nested 33 deep', nested(33), 'deep'],
    ['nested 33 deep in arrays', `{"a":${'['.repeat(32)}${']'.repeat(32)}}`, 'deep'],
    ['one byte above 16 KiB', ofBytes(16 * 1024 + 1), '16 KiB'],
    ['above 16 KiB in the digits of one number', `{"a":1.${'1'.repeat(16 * 1024)}}`, '16 KiB'],
  ])('%s is refused', async (_name, metadata, why) => {
    const { execute } = await createNativeApp();
    const response = await execute(`{"prompt":"a","metadata":${metadata}}`);
    expect(response.statusCode).toBe(400);
    expect(problemOf(response)).toMatchObject({
      errors: [{ path: 'metadata', message: expect.stringContaining(why) }],
    });
  });
});
