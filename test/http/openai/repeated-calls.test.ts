import type { LightMyRequestResponse } from 'fastify';
import { describe, expect, test } from 'vitest';
import { emptyReport, type JobOutcome } from '../../../src/jobs/job.ts';
import { completed, type ScriptedRun } from '../../helpers/fake-ports.ts';
import { waitFor } from '../../helpers/wait.ts';
import { type ChatApp, createChatApp, headers, question, token } from './chat-app.ts';

const failed: JobOutcome = { status: 'failed', reason: 'agent_error', error: 'no', report: emptyReport };
const failing = async (): Promise<JobOutcome> => failed;

async function ask({ app }: ChatApp, more: object = {}, body: object = {}): Promise<LightMyRequestResponse> {
  return await app.inject({
    method: 'POST',
    url: '/v1/chat/completions',
    headers: { ...headers, ...more },
    payload: { ...question, ...body },
  });
}

describe('a call that failed and is repeated', () => {
  test('is answered with the failure that there is, without a run', async () => {
    const app = await createChatApp({ script: failing });
    const first = await ask(app);
    const again = await ask(app);
    expect(again.statusCode).toBe(500);
    expect(again.json()).toEqual(first.json());
    expect(again.headers).toMatchObject({ 'x-should-retry': 'false', 'x-job-id': first.headers['x-job-id'] });
    expect(app.runner.runs).toHaveLength(1);
  });

  test('as a stream is told so by its status', async () => {
    const app = await createChatApp({ script: failing });
    expect((await ask(app, {}, { stream: true })).statusCode).toBe(200);
    expect((await ask(app, {}, { stream: true })).statusCode).toBe(500);
    expect(app.runner.runs).toHaveLength(1);
  });

  test.each([
    ['another body', {}, { user: 'me' }],
    ['cache-control: no-cache', { 'cache-control': 'no-cache' }, {}],
  ])('runs again with %s', async (_what, more, body) => {
    const app = await createChatApp({ script: failing });
    await ask(app);
    await ask(app, more, body);
    expect(app.runner.runs).toHaveLength(2);
  });

  test.each([
    ['after a pause', [0, 69, 70], 2],
    ['after a long time, however often it was asked for', [60, 60, 59, 1], 2],
    ['not while a client tries again', [1, 2, 4, 8, 16, 32, 64], 1],
  ])('runs again %s', async (_what, pauses, runs) => {
    let now = Date.now();
    const app = await createChatApp({ script: failing, deps: { clock: { now: () => now } } });
    await ask(app);
    for (const seconds of pauses) {
      now += seconds * 1000;
      await ask(app);
    }
    expect(app.runner.runs).toHaveLength(runs);
  });

  test('runs again where it never began to run', async () => {
    const app = await createChatApp({
      script: async () => ({ status: 'error', reason: 'spawn_error', error: 'no', report: emptyReport }),
    });
    await ask(app);
    await ask(app);
    expect(app.runner.runs).toHaveLength(2);
  });
});

describe('a call that is repeated while it runs', () => {
  const gated = (): { gate: PromiseWithResolvers<void>; script: (run: ScriptedRun) => Promise<JobOutcome> } => {
    const gate = Promise.withResolvers<void>();
    return {
      gate,
      script: async () => {
        await gate.promise;
        return completed({ text: 'Hello' });
      },
    };
  };
  const started = async ({ runner }: ChatApp, count: number): Promise<unknown> =>
    await waitFor(
      () => runner.runs.length,
      (runs) => runs >= count,
    );

  test('by a client that tries again gets the same run', async () => {
    const { gate, script } = gated();
    let waits = 0;
    const app = await createChatApp({
      script,
      jobs: (jobs) => ({
        wait: async (...args) => {
          waits += 1;
          return await jobs.wait(...args);
        },
      }),
    });
    const first = ask(app);
    await started(app, 1);
    const before = waits;
    const again = ask(app, { 'x-stainless-retry-count': '1' });
    await waitFor(
      () => waits,
      (count) => count > before,
    );
    gate.resolve();
    expect((await again).json()).toEqual((await first).json());
    expect(app.runner.runs).toHaveLength(1);
  });

  test('by somebody else gets a run of its own', async () => {
    const { gate, script } = gated();
    const app = await createChatApp({ script });
    const first = ask(app);
    await started(app, 1);
    const again = ask(app, { 'x-stainless-retry-count': '0' });
    await started(app, 2);
    gate.resolve();
    expect((await again).headers['x-job-id']).not.toBe((await first).headers['x-job-id']);
  });

  test('goes on when the first caller hangs up, and ends with the last', async () => {
    const app = await createChatApp({ script: async () => await new Promise<never>(() => {}) });
    const url = `${await app.listen()}/v1/chat/completions`;
    const call = async (retry: string, signal: AbortSignal): Promise<unknown> =>
      await fetch(url, {
        method: 'POST',
        headers: { ...headers, authorization: `Bearer ${token}`, 'x-stainless-retry-count': retry },
        body: JSON.stringify({ ...question, stream: true }),
        signal,
      });
    let closed = 0;
    app.app.server.on('request', (_request, response) => response.once('close', () => (closed += 1)));
    const [first, second] = [new AbortController(), new AbortController()];
    // Kept: an answer that nobody holds is closed when memory is tidied up.
    const answers = [await call('0', first.signal)];
    await started(app, 1);
    answers.push(await call('1', second.signal));
    first.abort();
    await waitFor(
      () => closed,
      (count) => count === 1,
    );
    expect(app.cancels).toEqual([]);
    second.abort();
    await waitFor(app.allJobs, ([job]) => job?.status === 'cancelled');
    expect(app.runner.runs).toHaveLength(1);
    expect(app.cancels).toHaveLength(1);
    expect(answers).toHaveLength(2);
  });
});

describe('a call with an Idempotency-Key', () => {
  const key = { 'idempotency-key': 'k-1' };

  test('is carried out once, and its answer is given again', async () => {
    const app = await createChatApp();
    const first = await ask(app, key);
    const again = await ask(app, key);
    expect(first.headers).not.toHaveProperty('idempotent-replayed');
    expect(again.headers).toMatchObject({ 'idempotent-replayed': 'true', 'x-job-id': first.headers['x-job-id'] });
    expect(again.json()).toEqual(first.json());
    expect(app.runner.runs).toHaveLength(1);
  });

  test('is carried out once however many come at the same time', async () => {
    const app = await createChatApp();
    const answers = await Promise.all([ask(app, key), ask(app, key), ask(app, key)]);
    expect(new Set(answers.map((answer) => answer.headers['x-job-id'])).size).toBe(1);
    expect(app.runner.runs).toHaveLength(1);
  });

  test('and another body is 422', async () => {
    const app = await createChatApp();
    await ask(app, key);
    const other = await ask(app, key, { user: 'me' });
    expect(other.statusCode).toBe(422);
    expect(other.json()).toMatchObject({ error: { type: 'invalid_request_error', code: 'idempotency_conflict' } });
    expect(other.headers['x-should-retry']).toBe('false');
    expect(app.runner.runs).toHaveLength(1);
  });

  test('that was refused can be sent again', async () => {
    const app = await createChatApp({ maxUnfinished: 0 });
    expect((await ask(app, key)).statusCode).toBe(429);
    expect((await ask(app, key)).statusCode).toBe(429);
  });

  test('that is none is refused', async () => {
    const app = await createChatApp();
    const answer = await ask(app, { 'idempotency-key': 'k'.repeat(256) });
    expect(answer.statusCode).toBe(400);
    expect(answer.json()).toMatchObject({ error: { param: 'Idempotency-Key', code: 'invalid_value' } });
  });
});
