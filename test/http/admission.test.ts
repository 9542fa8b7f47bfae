import { describe, expect, test } from 'vitest';
import { createNativeApp, problemOf } from './native-app.ts';

const prompt = 'Say hi';
const forever = async (): Promise<never> => await new Promise(() => {});

describe('admission', () => {
  test('exactly as many are admitted as there is room for, however many arrive at once', async () => {
    const { execute, service } = await createNativeApp({ capacity: 3, maxUnfinished: 20, script: forever });
    const responses = await Promise.all(Array.from({ length: 200 }, () => execute({ prompt })));
    const statuses = responses.map((response) => response.statusCode);
    expect(statuses.filter((status) => status === 202)).toHaveLength(20);
    expect(statuses.filter((status) => status === 429)).toHaveLength(180);
    const ids = responses.flatMap((response) => response.json<{ job_id?: string }>().job_id ?? []);
    expect(new Set(ids).size).toBe(20);
    expect(service.stats()).toMatchObject({ active: 3, queued: 17 });
  });

  test('a full queue is 429 with the time to come back', async () => {
    const { execute } = await createNativeApp({ maxUnfinished: 0 });
    const response = await execute({ prompt });
    expect(response.statusCode).toBe(429);
    expect(Number(response.headers['retry-after'])).toBeGreaterThan(0);
    expect(problemOf(response)).toEqual({
      type: 'about:blank',
      title: 'Too Many Requests',
      status: 429,
      detail: 'Queue full',
      code: 'queue_full',
      request_id: response.headers['x-request-id'],
    });
  });

  test('a service that shuts down is 503 with the time to come back, and closes connections', async () => {
    const { execute, service } = await createNativeApp();
    await service.drain(0);
    const response = await execute({ prompt });
    expect(response.statusCode).toBe(503);
    expect(Number(response.headers['retry-after'])).toBeGreaterThan(0);
    expect(response.headers['connection']).toBe('close');
    expect(problemOf(response)).toMatchObject({ code: 'unavailable' });
  });

  test('a fault inside is 500 and tells nothing', async () => {
    const secret = '/srv/data/jobs.db EACCES test-token';
    const { execute } = await createNativeApp({ jobs: () => ({ submit: () => Promise.reject(new Error(secret)) }) });
    const response = await execute({ prompt });
    expect(response.statusCode).toBe(500);
    expect(problemOf(response)).toMatchObject({ code: 'internal', detail: 'Internal error' });
    expect(response.body).not.toMatch(/EACCES|srv|token|at /);
  });
});
