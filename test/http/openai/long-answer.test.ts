import { request as httpRequest } from 'node:http';
import { setTimeout as delay } from 'node:timers/promises';
import OpenAI from 'openai';
import { describe, expect, test } from 'vitest';
import { WorkspaceError } from '../../../src/jobs/errors.ts';
import { emptyReport, type JobOutcome } from '../../../src/jobs/job.ts';
import { completed, createFakeWorkspaces } from '../../helpers/fake-ports.ts';
import { waitFor } from '../../helpers/wait.ts';
import { type ChatApp, type ChatAppOptions, createChatApp, headers, question, token } from './chat-app.ts';

const settings = { plainTiming: { headersMs: 30, spaceMs: 5 } };

/** Answers only when `gate` is open. */
async function slowApp(outcome: JobOutcome, options: ChatAppOptions = {}) {
  const gate = Promise.withResolvers<void>();
  const script = async (): Promise<JobOutcome> => {
    await gate.promise;
    return outcome;
  };
  return { gate, app: await createChatApp({ script, settings, ...options }) };
}

async function post(app: ChatApp, signal?: AbortSignal): Promise<Response> {
  const body = JSON.stringify(question);
  return await fetch(`${await app.listen()}/v1/chat/completions`, {
    method: 'POST',
    headers,
    body,
    ...(signal && { signal }),
  });
}

const runMs = 3_000;

/** The status of the answer, for a client that hears something at least this often. */
async function askWithin(url: string, silenceMs: number): Promise<unknown> {
  const { promise, resolve } = Promise.withResolvers<unknown>();
  const sent = httpRequest(url, { method: 'POST', headers, timeout: silenceMs }, (response) => {
    response.resume().on('end', () => resolve(response.statusCode));
  });
  sent.on('timeout', () => sent.destroy());
  sent.on('error', () => resolve('gave up'));
  sent.end(JSON.stringify(question));
  return await promise;
}

describe('a plain answer that takes long', () => {
  test('begins with its status and white space, and ends as any other', async () => {
    const { gate, app } = await slowApp(completed({ text: 'Hello' }));
    const response = await post(app);
    expect(response.status).toBe(200);
    expect(response.headers.get('content-type')).toBe('application/json; charset=utf-8');
    expect(response.headers.get('x-job-id')).toMatch(/^job_/);
    expect(response.headers.get('x-request-id')).toMatch(/^req_/);
    expect(response.headers.get('openai-processing-ms')).toMatch(/^\d+$/);
    let text = '';
    for await (const chunk of response.body?.pipeThrough(new TextDecoderStream()) ?? []) {
      text += chunk;
      if (text.length >= 6) gate.resolve();
    }
    expect(text).toMatch(/^(?: \n){3,}\{/);
    expect(JSON.parse(text)).toMatchObject({ object: 'chat.completion', choices: [{ message: { content: 'Hello' } }] });
  });

  test('is understood by the OpenAI SDK', async () => {
    const { gate, app } = await slowApp(completed({ text: 'Hello' }));
    const client = new OpenAI({ baseURL: `${await app.listen()}/v1`, apiKey: token });
    const call = client.chat.completions.create({ model: 'sonnet', messages: [{ role: 'user', content: 'Hi' }] });
    await call.asResponse();
    gate.resolve();
    expect((await call).choices[0]?.message.content).toBe('Hello');
    expect(app.runner.runs).toHaveLength(1);
  });

  test('that fails tells it as an error and as a refusal', async () => {
    const failed: JobOutcome = { status: 'failed', reason: 'agent_error', error: 'no', report: emptyReport };
    const { gate, app } = await slowApp(failed);
    const response = await post(app);
    gate.resolve();
    expect(await response.json()).toMatchObject({
      error: { type: 'server_error', code: 'agent_failed' },
      choices: [
        { message: { content: '', refusal: expect.stringContaining('failed') }, finish_reason: 'content_filter' },
      ],
      usage: { total_tokens: 0 },
    });
  });

  test('that fails is a failed response to who asked for one', async () => {
    const failed: JobOutcome = { status: 'failed', reason: 'agent_error', error: 'no', report: emptyReport };
    const { gate, app } = await slowApp(failed);
    const client = new OpenAI({ baseURL: `${await app.listen()}/v1`, apiKey: token });
    const call = client.responses.create({ model: 'sonnet', input: 'Hi' });
    const response = await call.asResponse();
    expect(response.status).toBe(200);
    gate.resolve();
    const answer = await call;
    expect(answer).toMatchObject({ status: 'failed', error: { code: 'server_error' }, output: [] });
    expect(app.runner.runs).toHaveLength(1);
  });

  test.each([
    ['gives up where nothing comes', undefined, 'gave up'],
    ['has the answer where white space comes', { headersMs: 100, spaceMs: 100 }, 200],
  ])('a client that waits only so long %s', async (_what, plainTiming, expected) => {
    const app = await createChatApp({
      script: async () => {
        await delay(runMs);
        return completed({ text: 'Hello' });
      },
      settings: plainTiming === undefined ? {} : { plainTiming },
    });
    expect(await askWithin(`${await app.listen()}/v1/chat/completions`, runMs / 2)).toBe(expected);
  });

  test.each([
    ['x-stainless-timeout', '2'],
    ['x-stainless-read-timeout', '1.5'],
  ])('a client that says in %s how long it waits hears something by then', async (name, seconds) => {
    const { gate, app } = await slowApp(completed({ text: 'Hello' }), { settings: {} });
    const url = `${await app.listen()}/v1/chat/completions`;
    const body = JSON.stringify(question);
    const begun = performance.now();
    const response = await fetch(url, { method: 'POST', headers: { ...headers, [name]: seconds }, body });
    const waitedMs = performance.now() - begun;
    let text = '';
    for await (const chunk of response.body?.pipeThrough(new TextDecoderStream()) ?? []) {
      text += chunk;
      if (text.length >= 4) gate.resolve();
    }
    expect(text).toMatch(/^(?: \n){2,}\{/);
    expect(waitedMs / 1000 / Number(seconds)).toBeGreaterThan(0.5);
  });

  test.each(['0', '-1', 'soon', '1e999', ''])('%j is no time to wait', async (seconds) => {
    const app = await createChatApp();
    const payload = question;
    const name = 'x-stainless-timeout';
    const url = '/v1/chat/completions';
    const response = await app.app.inject({ method: 'POST', url, headers: { ...headers, [name]: seconds }, payload });
    expect(response.statusCode).toBe(200);
    expect(response.body).toMatch(/^\{/);
  });

  test('breaks the connection where nothing was spent, so that the client tries again', async () => {
    const gate = Promise.withResolvers<void>();
    const workspaces = createFakeWorkspaces(async () => {
      await gate.promise;
      throw new WorkspaceError('The clone failed');
    });
    const app = await createChatApp({ workspaces, settings });
    const response = await post(app);
    gate.resolve();
    await expect(response.text()).rejects.toThrow(TypeError);
    expect(app.runner.runs).toEqual([]);
  });

  test('ends with its caller', async () => {
    const { app } = await slowApp(completed());
    const controller = new AbortController();
    await post(app, controller.signal);
    controller.abort();
    await waitFor(app.allJobs, ([job]) => job?.status === 'cancelled');
    expect(app.cancels).toMatchObject([{ reason: 'client_gone' }]);
  });
});
