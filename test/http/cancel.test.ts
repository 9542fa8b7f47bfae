import { describe, expect, test } from 'vitest';
import type { ScriptedRun } from '../helpers/fake-ports.ts';
import { waitFor } from '../helpers/wait.ts';
import { createNativeApp, headers, type NativeApp } from './native-app.ts';

const forever = async (): Promise<never> => await new Promise(() => {});

describe('cancelling', () => {
  const cancel = async ({ app }: NativeApp, id: string, more: object = {}) =>
    await app.inject({ method: 'POST', url: `/jobs/${id}/cancel`, headers, ...more });

  test('a queued job ends it at once, without a run', async () => {
    const nativeApp = await createNativeApp({ capacity: 1, maxUnfinished: 2, script: forever });
    await nativeApp.submit();
    const id = await nativeApp.submit();
    const response = await cancel(nativeApp, id);
    expect(response.statusCode).toBe(202);
    expect(response.json()).toMatchObject({ job_id: id, status: 'cancelled', reason: 'cancelled', started_at: null });
    expect(nativeApp.runner.runs).toHaveLength(1);
    // Its place is free.
    expect((await nativeApp.execute({ prompt: 'next' })).statusCode).toBe(202);
  });

  test('a running job ends it', async () => {
    const stopped = Promise.withResolvers<void>();
    const script = async ({ signal }: ScriptedRun): Promise<never> => {
      signal.addEventListener('abort', () => stopped.resolve());
      return await forever();
    };
    const nativeApp = await createNativeApp({ script });
    const id = await nativeApp.submit();
    await waitFor(
      () => nativeApp.runner.runs.length,
      (count) => count === 1,
    );
    expect((await cancel(nativeApp, id)).statusCode).toBe(202);
    await stopped.promise;
    expect(await nativeApp.finished(id)).toMatchObject({ status: 'cancelled', reason: 'cancelled' });
  });

  test('a final job changes nothing, however often', async () => {
    const nativeApp = await createNativeApp();
    const id = await nativeApp.submit();
    const before = await nativeApp.finished(id);
    for (const response of [await cancel(nativeApp, id), await cancel(nativeApp, id)]) {
      expect(response.statusCode).toBe(200);
      expect(response.json()).toEqual(before);
    }
  });

  test('twice at once cancels once', async () => {
    const nativeApp = await createNativeApp({ capacity: 1, script: forever });
    await nativeApp.submit();
    const id = await nativeApp.submit();
    const both = await Promise.all([cancel(nativeApp, id), cancel(nativeApp, id)]);
    expect(both.map((response) => response.statusCode).toSorted((a, b) => a - b)).toEqual([200, 202]);
  });

  test.each([
    ['no body and a type', { headers: { ...headers, 'content-type': 'application/json' } }],
    ['no body and a form type', { headers: { ...headers, 'content-type': 'application/x-www-form-urlencoded' } }],
    ['an empty object', { payload: '{}' }],
  ])('is taken with %s', async (_name, more) => {
    const nativeApp = await createNativeApp();
    const id = await nativeApp.submit();
    await nativeApp.finished(id);
    expect((await cancel(nativeApp, id, more)).statusCode).toBe(200);
  });

  test.each([
    [{ payload: '{' }, 400],
    [{ payload: 'a=b', headers: { ...headers, 'content-type': 'application/x-www-form-urlencoded' } }, 415],
  ])('with a broken body is refused', async (more, status) => {
    const nativeApp = await createNativeApp();
    expect((await cancel(nativeApp, await nativeApp.submit(), more)).statusCode).toBe(status);
  });
});
