import { Agent, type ClientRequest, request as httpRequest } from 'node:http';
import { createConnection } from 'node:net';
import { describe, expect, test } from 'vitest';
import type { JobOutcome } from '../../../src/jobs/job.ts';
import { completed, createFakeWorkspaces, type ScriptedRun } from '../../helpers/fake-ports.ts';
import { waitFor } from '../../helpers/wait.ts';
import { addressOf, type ChatApp, createChatApp, headers, question } from './chat-app.ts';

const forever = async (): Promise<never> => await new Promise(() => {});

function ask(chatApp: ChatApp, body: object, agent?: Agent): ClientRequest {
  const options = { method: 'POST', path: '/v1/chat/completions', headers, ...(agent && { agent }) };
  const request = httpRequest({ host: '127.0.0.1', port: addressOf(chatApp.app).port, ...options });
  // Hanging up is what these tests do.
  request.on('error', () => {});
  request.end(JSON.stringify(body));
  return request;
}

/** What was cancelled once the first job is, and how it ended. */
async function cancelled(chatApp: ChatApp): Promise<object> {
  const [job] = await waitFor(chatApp.allJobs, (jobs) => jobs[0]?.status === 'cancelled');
  return {
    reason: job?.outcome?.reason,
    cancels: chatApp.cancels.map((each) => ({ ...each, own: each.id === job?.id })),
  };
}

const once = { reason: 'client_gone', cancels: [{ id: expect.any(String), reason: 'client_gone', own: true }] };

describe.each([false, true])('hanging up on a chat with stream: %j', (stream) => {
  const body = { ...question, stream };

  test('in the queue cancels the job once, without a run', async () => {
    const chatApp = await createChatApp({ capacity: 1, script: forever });
    await chatApp.listen();
    const first = ask(chatApp, question);
    await waitFor(
      () => chatApp.runner.runs.length,
      (runs) => runs === 1,
    );
    const second = ask(chatApp, body);
    await waitFor(
      () => chatApp.service.stats().queued,
      (queued) => queued === 1,
    );
    second.destroy();
    expect(await cancelled(chatApp)).toEqual(once);
    expect(chatApp.runner.runs).toHaveLength(1);
    first.destroy();
  });

  test('while the workspace is made cancels the job once, without a run', async () => {
    let creating = false;
    const workspaces = createFakeWorkspaces(async (signal) => {
      creating = true;
      await new Promise((_resolve, reject) => signal.addEventListener('abort', () => reject(signal.reason)));
    });
    const chatApp = await createChatApp({ workspaces });
    await chatApp.listen();
    const request = ask(chatApp, body);
    await waitFor(() => creating, Boolean);
    request.destroy();
    expect(await cancelled(chatApp)).toEqual(once);
    expect(chatApp.runner.runs).toEqual([]);
  });

  test('while the agent runs cancels the job once', async () => {
    const script = async (run: ScriptedRun): Promise<JobOutcome> => {
      run.say('half');
      return await forever();
    };
    const chatApp = await createChatApp({ script });
    await chatApp.listen();
    const request = ask(chatApp, body);
    await waitFor(
      () => (stream ? chatApp.runner.taken() : chatApp.runner.runs.length),
      (count) => count === 1,
    );
    request.destroy();
    expect(await cancelled(chatApp)).toEqual(once);
  });

  test('while the job is admitted cancels it as soon as it is', async () => {
    const gate = Promise.withResolvers<void>();
    let submitting = false;
    const chatApp = await createChatApp({
      script: forever,
      jobs: (jobs) => ({
        submit: async (spec, caller) => {
          submitting = true;
          await gate.promise;
          return await jobs.submit(spec, caller);
        },
      }),
    });
    await chatApp.listen();
    const request = ask(chatApp, body);
    await waitFor(() => submitting, Boolean);
    request.destroy();
    await waitFor(
      () => connections(chatApp),
      (count) => count === 0,
    );
    gate.resolve();
    expect(await cancelled(chatApp)).toEqual(once);
  });

  test('behind another answer on the same connection cancels both', async () => {
    const chatApp = await createChatApp({ script: forever });
    await chatApp.listen();
    const socket = createConnection({ host: '127.0.0.1', port: addressOf(chatApp.app).port });
    const text = JSON.stringify(body);
    const lines = ['POST /v1/chat/completions HTTP/1.1', 'host: a', `content-length: ${text.length}`];
    for (const [name, value] of Object.entries(headers)) lines.push(`${name}: ${value}`);
    socket.write(`${lines.join('\r\n')}\r\n\r\n${text}`.repeat(2));
    await waitFor(
      () => chatApp.runner.runs.length,
      (runs) => runs === 2,
    );
    socket.destroy();
    await waitFor(
      () => chatApp.cancels.length,
      (count) => count === 2,
    );
    expect(new Set(chatApp.cancels.map(({ id }) => id)).size).toBe(2);
  });

  test('after the answer, or with the next one on the same connection, cancels nothing', async () => {
    const warnings: Error[] = [];
    const onWarning = (warning: Error): number => warnings.push(warning);
    process.on('warning', onWarning);
    const chatApp = await createChatApp({ script: async () => completed({ text: 'x' }) });
    await chatApp.listen();
    let connected = 0;
    let listeners = 0;
    chatApp.app.server.on('connection', () => (connected += 1));
    chatApp.app.server.on('request', ({ socket }) => (listeners = Math.max(listeners, socket.listenerCount('close'))));
    const agent = new Agent({ keepAlive: true, maxSockets: 1 });
    const before: number[] = [];
    for (let i = 0; i < 30; i += 1) {
      const request = ask(chatApp, body, agent);
      await new Promise<void>((resolve, reject) => {
        request.on('error', reject);
        request.on('response', (response) => response.on('end', resolve).resume());
      });
      before.push(listeners);
    }
    expect(connected).toBe(1);
    // No more at the last request than at the second, which came over a connection as used as any.
    expect(before.at(-1)).toBe(before[1]);
    agent.destroy();
    await waitFor(
      () => connections(chatApp),
      (count) => count === 0,
    );
    process.off('warning', onWarning);
    expect(chatApp.cancels).toEqual([]);
    expect(warnings.filter(({ name }) => name === 'MaxListenersExceededWarning')).toEqual([]);
  });
});

test("a caller who stops reading holds back the agent's events, and hanging up then cancels the job", async () => {
  const piece = 'x'.repeat(64 * 1024);
  const pieces = 2000;
  const chatApp = await createChatApp({
    script: async (run) => {
      for (let i = 0; i < pieces; i += 1) run.say(piece);
      return await forever();
    },
  });
  await chatApp.listen();
  const request = ask(chatApp, { ...question, stream: true });
  request.on('response', (response) => response.pause());
  let last = 0;
  let sameReadings = 0;
  await waitFor(
    () => {
      const taken = chatApp.runner.taken();
      sameReadings = taken > 0 && taken === last ? sameReadings + 1 : 0;
      last = taken;
      return sameReadings;
    },
    (same) => same === 30,
  );
  // What the kernel's buffers hold; all pieces together are many times that.
  expect(chatApp.runner.taken()).toBeLessThan(pieces / 4);
  request.destroy();
  expect(await cancelled(chatApp)).toEqual(once);
});

function connections(chatApp: ChatApp): Promise<number> {
  return new Promise((resolve, reject) => {
    chatApp.app.server.getConnections((error, count) => (error === null ? resolve(count) : reject(error)));
  });
}
