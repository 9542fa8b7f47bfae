import { join } from 'node:path';
import OpenAI, { APIError } from 'openai';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type MessagesApi, startMessagesApi } from '../fixtures/messages-api.ts';
import { realClaude } from '../fixtures/run-agent.ts';
import { createGitRepo } from '../helpers/git-repo.ts';
import {
  isAlive,
  type ServiceProcess,
  startServiceProcess,
  temporaryDirectory,
  token,
} from '../helpers/service-process.ts';
import { waitFor } from '../helpers/wait.ts';
import { track, workspacesOf } from './steering.ts';

/** The installed claude CLI, run by the service, with a stand-in for the API that it calls: what it answers is in the prompt. */

const text = 'one two three four five six seven eight nine ten eleven twelve thirteen';

let api: MessagesApi;
beforeAll(async () => {
  api = await startMessagesApi();
});
afterAll(() => api.close());

/** One retry: the waits between more of them would be all that a test of errors does. */
function start(env: Readonly<Record<string, string>> = {}): Promise<ServiceProcess> {
  const retries = { AGENT_ENV: 'CLAUDE_CODE_MAX_RETRIES', CLAUDE_CODE_MAX_RETRIES: '1' };
  const real = { CLAUDE_BIN: realClaude, ANTHROPIC_BASE_URL: api.url, LOG_LEVEL: 'debug' };
  return startServiceProcess({ env: { ...real, ...retries, ...env } });
}

describe('a job of the real claude', () => {
  test('completes with its text, its cost and its session', async () => {
    const service = await start();
    const id = await service.submit({ prompt: `say: ${text}\nusage: 1000 200`, model: 'claude-sonnet-4-6' });
    const job = await service.finished(id);
    expect(job).toMatchObject({
      status: 'completed',
      reason: 'ok',
      exit_code: 0,
      result: text,
      num_turns: 1,
      error: null,
    });
    expect(job).toMatchObject({ usage: { input_tokens: 1000, output_tokens: 200 }, session_id: expect.any(String) });
    expect(Number(job['cost_usd'])).toBeGreaterThan(0);
    const lines: unknown = job['output'];
    const printed: unknown = JSON.parse(Array.isArray(lines) ? lines.join('\n') : '');
    expect(printed).toMatchObject({ type: 'result', subtype: 'success', result: text, session_id: job['session_id'] });
  });

  test('edits files in a clone of its own: the next job starts from a clean one', async () => {
    const base = await createGitRepo(join(await temporaryDirectory(), 'base'), { 'README.md': 'base\n' });
    const service = await start({ WORKSPACE_DIR: base.path });
    const edit = [
      'tool: Write {"file_path": "made.txt", "content": "made by a tool\\n"}',
      'tool: Bash {"command": "cat made.txt README.md && git status --short"}',
      'say: edited',
    ];
    const before = api.requests.length;
    const first = await service.finished(await service.submit({ prompt: edit.join('\n') }));
    expect(first).toMatchObject({ status: 'completed', result: 'edited', num_turns: 3 });
    expect(requestsSince(before)).toContain(String.raw`made by a tool\nbase\n?? made.txt`);

    const middle = api.requests.length;
    const look = 'tool: Bash {"command": "ls && git status --short && echo looked"}\nsay: seen';
    const second = await service.finished(await service.submit({ prompt: look }));
    expect(second).toMatchObject({ status: 'completed', result: 'seen', num_turns: 2 });
    expect(requestsSince(middle)).toContain(String.raw`README.md\nlooked`);
    expect(requestsSince(middle)).not.toContain('made.txt');
    expect(await workspacesOf(service)).toEqual([]);
    expect(await base.git('status', '--short')).toBe('');
  });

  test.each([
    [401, 'Failed to authenticate'],
    [429, 'scripted 429'],
    [529, 'scripted 529'],
  ])('fails, and says why, when the model answers %i', async (status, words) => {
    const service = await start();
    const job = await service.finished(await service.submit({ prompt: `status: ${status}` }));
    expect(job).toMatchObject({ status: 'failed', reason: 'agent_error', error: expect.stringContaining(words) });
    expect(await service.read('/health')).toMatchObject({ active: 0 });
  });

  test('completes when the model is overloaded for a moment', async () => {
    const service = await start();
    const job = await service.finished(await service.submit({ prompt: 'status: 529 1\nsay: after the retry' }));
    expect(job).toMatchObject({ status: 'completed', result: 'after the retry' });
  });

  test('is ended at its limit while the model is silent', async () => {
    const service = await start();
    const id = await service.submit({ prompt: `stall\nsay: ${text}`, timeout_seconds: 4 });
    const job = await service.finished(id);
    expect(job).toMatchObject({ status: 'timeout', reason: 'timeout', error: expect.stringContaining('4 seconds') });
    expect(await isAlive(await agentOf(service, id))).toBe(false);
  });

  test('leaves neither CLI nor tool behind when it is cancelled', async () => {
    const tool = await track();
    const service = await start();
    const command = JSON.stringify({ command: `echo $$ > ${tool.file}; sleep 60; true` });
    const id = await service.submit({ prompt: `tool: Bash ${command}` });
    const pids = [await tool.pid(), await agentOf(service, id)];
    expect(await Promise.all(pids.map(isAlive))).toEqual([true, true]);
    expect((await service.post(`/jobs/${id}/cancel`, {})).status).toBe(202);
    expect(await service.finished(id)).toMatchObject({ status: 'cancelled', reason: 'cancelled' });
    expect(await Promise.all(pids.map(isAlive))).toEqual([false, false]);
  });
});

describe('a chat with the real claude, by the OpenAI SDK', () => {
  test('gives the whole answer with its usage', async () => {
    const service = await start();
    const answer = await clientOf(service).chat.completions.create({
      model: 'sonnet',
      messages: [
        { role: 'system', content: 'Be brief.' },
        { role: 'user', content: `say: ${text}\nusage: 1000 200` },
      ],
    });
    expect(answer.choices).toMatchObject([{ finish_reason: 'stop', message: { role: 'assistant', content: text } }]);
    expect(answer.usage).toMatchObject({ prompt_tokens: 1000, completion_tokens: 200, total_tokens: 1200 });
    expect(JSON.stringify(api.requests.at(-1)?.body)).toContain('Be brief.');
  });

  test('streams the answer in pieces as the model gives them', async () => {
    const service = await start();
    const stream = await clientOf(service).chat.completions.create({
      model: 'sonnet',
      stream: true,
      stream_options: { include_usage: true },
      messages: [{ role: 'user', content: `delta-ms: 50\nsay: ${text}` }],
    });
    const pieces: string[] = [];
    let [reason, total] = ['', 0];
    for await (const { choices, usage } of stream) {
      pieces.push(choices[0]?.delta.content ?? '');
      reason = choices[0]?.finish_reason ?? reason;
      total = usage?.total_tokens ?? total;
    }
    expect(pieces.join('')).toBe(text);
    expect(pieces.filter((piece) => piece !== '').length).toBeGreaterThan(3);
    expect([reason, total]).toEqual(['stop', 120]);
  });

  test.each([
    [401, 500, 'agent_failed'],
    [429, 429, 'upstream_rate_limited'],
    [529, 500, 'agent_failed'],
  ])('fails when the model answers %i, with %i and the code %s', async (status, expected, code) => {
    const service = await start();
    const messages = [{ role: 'user' as const, content: `status: ${status}` }];
    const error: unknown = await clientOf(service)
      .chat.completions.create({ model: 'sonnet', messages })
      .catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(APIError);
    expect(error).toMatchObject({ status: expected, code });
  });

  test('ends the CLI when its caller hangs up in the middle of the stream', async () => {
    const service = await start();
    const stream = await clientOf(service).chat.completions.create({
      model: 'sonnet',
      stream: true,
      messages: [{ role: 'user', content: `stall\nsay: ${text}` }],
    });
    for await (const { choices } of stream) if (choices[0]?.delta.content) break;
    const id = await waitFor(
      async () => /"job_id":"([^"]+)","pid"/.exec(service.output())?.[1] ?? '',
      (found) => found !== '',
    );
    expect(await service.finished(id)).toMatchObject({ status: 'cancelled', reason: 'client_gone' });
    expect(await isAlive(await agentOf(service, id))).toBe(false);
  });
});

/** The process id of a job's CLI, from the log. */
async function agentOf({ output }: ServiceProcess, id: string): Promise<number> {
  return await waitFor(
    () => Number(new RegExp(`"job_id":"${id}","pid":(\\d+)`).exec(output())?.[1] ?? 0),
    (pid) => pid > 1,
    { what: 'the agent to start' },
  );
}

function clientOf({ url }: ServiceProcess): OpenAI {
  return new OpenAI({ baseURL: `${url}/v1`, apiKey: token, maxRetries: 0 });
}

/** What the CLI told the model since, the results of its tools among it. */
function requestsSince(index: number): string {
  return JSON.stringify(api.requests.slice(index).map(({ body }) => body));
}
