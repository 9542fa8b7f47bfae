import { promisify } from 'node:util';
import { describe, expect, test } from 'vitest';
import { completed } from '../../helpers/fake-ports.ts';
import { waitFor } from '../../helpers/wait.ts';
import { addressOf, type ChatApp, createChatApp, headers, question } from './chat-app.ts';

const waitsMs = 1_000;

/** A run that goes on until `gate` is open, and whose caller has hung up when its time had passed. */
async function leftRun() {
  const gate = Promise.withResolvers<void>();
  const app = await createChatApp({
    script: async () => {
      await gate.promise;
      return completed({ text: 'Hello' });
    },
  });
  await app.listen();
  await expect(askAgain(app, '0', AbortSignal.timeout(waitsMs))).rejects.toThrow('timeout');
  // Clients pause before they come back, so that their hang-up is known by then.
  await waitFor(
    async () => await promisify(app.app.server.getConnections.bind(app.app.server))(),
    (connections) => connections === 0,
  );
  return { gate, app };
}

async function askAgain(app: ChatApp, tries: string, signal?: AbortSignal): Promise<unknown> {
  return await (await send(app, { 'x-stainless-timeout': '1', 'x-stainless-retry-count': tries }, signal)).json();
}

async function send(app: ChatApp, told: Readonly<Record<string, string>>, signal?: AbortSignal): Promise<Response> {
  return await fetch(`http://127.0.0.1:${addressOf(app.app).port}/v1/chat/completions`, {
    method: 'POST',
    headers: { ...headers, ...told },
    body: JSON.stringify(question),
    ...(signal && { signal }),
  });
}

const answer = { choices: [{ message: { content: 'Hello' } }] };

describe('a run whose caller hung up when its time had passed', () => {
  test('ends where the caller does not come back', async () => {
    const { app } = await leftRun();
    expect(await app.allJobs()).toMatchObject([{ status: 'running' }]);
    await waitFor(app.allJobs, ([job]) => job?.status === 'cancelled');
    expect(app.cancels).toMatchObject([{ reason: 'client_gone' }]);
  });

  test.each(['0', '1'])('is there for it when it comes back, having told %s tries', async (tries) => {
    const { app, gate } = await leftRun();
    const again = askAgain(app, tries);
    gate.resolve();
    expect(await again).toMatchObject(answer);
    expect(app.runner.runs).toHaveLength(1);
    expect(app.cancels).toEqual([]);
  });

  test('is there for it where it ended meanwhile', async () => {
    const { app, gate } = await leftRun();
    gate.resolve();
    await waitFor(app.allJobs, ([job]) => job?.status === 'completed');
    expect(await askAgain(app, '1')).toMatchObject(answer);
    expect(app.runner.runs).toHaveLength(1);
  });

  test('lets it hear something sooner when it comes back, also where it does not say its time', async () => {
    const { app, gate } = await leftRun();
    // With the run going on, there is no other answer for minutes.
    const response = await send(app, { 'x-stainless-retry-count': '1' });
    gate.resolve();
    expect(await response.json()).toMatchObject(answer);
    expect(app.runner.runs).toHaveLength(1);
  });
});
