import { describe, expect, test } from 'vitest';
import { WorkspaceError } from '../../../src/jobs/errors.ts';
import { emptyReport, type JobOutcome } from '../../../src/jobs/job.ts';
import { completed, createFakeWorkspaces, type ScriptedRun } from '../../helpers/fake-ports.ts';
import { waitFor } from '../../helpers/wait.ts';
import { createChatApp, question } from './chat-app.ts';

const usage = { input_tokens: 10, cache_read_input_tokens: 300, cache_creation_input_tokens: 50, output_tokens: 7 };

function ended(
  status: JobOutcome['status'],
  reason: JobOutcome['reason'],
  report: Partial<JobOutcome['report']> = {},
): JobOutcome {
  return { status, reason, error: 'ENOENT: /home/agent/secret', report: { ...emptyReport, ...report } };
}

const untilEnded = async (): Promise<never> => await new Promise(() => {});

describe('a plain answer', () => {
  test('has the shape of OpenAI, with what the run used', async () => {
    const text = 'First turn.\n\nSecond turn.';
    const { chat, allJobs } = await createChatApp({
      script: async () => completed({ text, result: 'Second turn.', usage, resolvedModel: 'claude-sonnet-4-6[1m]' }),
    });
    const answer = await chat(question);
    expect(answer.statusCode).toBe(200);
    expect(answer.json()).toEqual({
      id: expect.stringMatching(/^chatcmpl-[\w-]{20,}$/),
      object: 'chat.completion',
      created: expect.any(Number),
      model: 'sonnet',
      service_tier: 'default',
      choices: [
        {
          index: 0,
          message: { role: 'assistant', content: text, refusal: null, annotations: [] },
          logprobs: null,
          finish_reason: 'stop',
        },
      ],
      usage: {
        prompt_tokens: 360,
        completion_tokens: 7,
        total_tokens: 367,
        prompt_tokens_details: { cached_tokens: 300, cache_write_tokens: 50, audio_tokens: 0 },
        completion_tokens_details: {
          reasoning_tokens: 0,
          audio_tokens: 0,
          accepted_prediction_tokens: 0,
          rejected_prediction_tokens: 0,
        },
      },
    });
    expect(Math.abs(answer.json<{ created: number }>().created - Date.now() / 1000)).toBeLessThan(60);
    expect(answer.headers).toMatchObject({
      'content-type': 'application/json; charset=utf-8',
      'x-request-id': expect.stringMatching(/^req_/),
      'openai-processing-ms': expect.stringMatching(/^\d+$/),
      'x-job-id': (await allJobs())[0]?.id,
      'x-resolved-model': 'claude-sonnet-4-6[1m]',
    });
  });

  test.each([
    [{ text: 'all', result: 'last' }, 'all'],
    [{ text: null, result: 'last' }, 'last'],
    [{ text: '', result: 'last' }, ''],
    [{ text: null, result: null }, ''],
  ])('the report %j answers %j', async (report, content) => {
    const { chat } = await createChatApp({ script: async () => completed(report) });
    expect((await chat(question)).json()).toMatchObject({ choices: [{ message: { content } }] });
  });

  test.each([
    [null, 0, 0],
    [{ output_tokens: 9, output_tokens_details: { thinking_tokens: 4 } }, 9, 4],
    [{ output_tokens: 9, output_tokens_details: { thinking_tokens: 40 } }, 9, 9],
    [{ output_tokens: 'many', output_tokens_details: null }, 0, 0],
    [{ output_tokens: -1.5 }, 0, 0],
  ])('the usage %j is %i tokens, %i of them reasoning', async (reported, completion, reasoning) => {
    const { chat } = await createChatApp({ script: async () => completed({ text: 'x', usage: reported }) });
    expect((await chat(question)).json()).toMatchObject({
      usage: { completion_tokens: completion, completion_tokens_details: { reasoning_tokens: reasoning } },
    });
  });

  test.each(['budget', 'max_turns', 'output_limit'] as const)(
    'a run cut short by %s answers what it has, as cut',
    async (reason) => {
      const { chat } = await createChatApp({ script: async () => ended('failed', reason, { text: 'So far', usage }) });
      const answer = await chat(question);
      expect(answer.statusCode).toBe(200);
      expect(answer.json()).toMatchObject({
        choices: [{ message: { content: 'So far' }, finish_reason: 'length' }],
        usage: { completion_tokens: 7 },
      });
    },
  );

  test('a name of a model that could break a header is left out', async () => {
    const { chat } = await createChatApp({ script: async () => completed({ text: 'x', resolvedModel: 'a\r\nb: c' }) });
    const answer = await chat(question);
    expect(answer.statusCode).toBe(200);
    expect(answer.headers).not.toHaveProperty('x-resolved-model');
  });
});

type Script = (run: ScriptedRun) => Promise<JobOutcome>;
const failing =
  (...outcome: Parameters<typeof ended>): Script =>
  async () =>
    ended(...outcome);

/** How a run ended, and what is said of it: status, type, code, x-should-retry, retry-after. */
const failures: readonly (readonly [
  what: string,
  Script,
  number,
  string,
  string,
  string | undefined,
  string | undefined,
])[] = [
  [
    'an agent that exits with an error',
    failing('failed', 'exit_nonzero', { text: 'half' }),
    500,
    'server_error',
    'agent_failed',
    'false',
    undefined,
  ],
  ['an error as result', failing('failed', 'agent_error'), 500, 'server_error', 'agent_failed', 'false', undefined],
  ['no result', failing('failed', 'no_result'), 500, 'server_error', 'agent_failed', 'false', undefined],
  ['a signal', failing('failed', 'signal'), 500, 'server_error', 'agent_failed', 'false', undefined],
  ['too much output', failing('failed', 'output_limit'), 500, 'server_error', 'agent_failed', 'false', undefined],
  [
    'a budget reached without text',
    failing('failed', 'budget'),
    500,
    'server_error',
    'agent_failed',
    'false',
    undefined,
  ],
  [
    'turns used up without text',
    failing('failed', 'max_turns', { text: '' }),
    500,
    'server_error',
    'agent_failed',
    'false',
    undefined,
  ],
  ['a cancelled run', failing('cancelled', 'cancelled'), 500, 'server_error', 'agent_failed', 'false', undefined],
  ['a lost run', failing('lost', 'lost'), 500, 'server_error', 'agent_failed', 'false', undefined],
  [
    'a run that the service stopped',
    failing('lost', 'shutdown'),
    503,
    'server_error',
    'service_unavailable',
    'false',
    undefined,
  ],
  [
    'a time limit',
    failing('timeout', 'timeout', { text: 'half' }),
    504,
    'server_error',
    'agent_timeout',
    'false',
    undefined,
  ],
  [
    'a limit of the API',
    failing('failed', 'agent_error', { apiStatus: 429 }),
    429,
    'rate_limit_error',
    'upstream_rate_limited',
    undefined,
    undefined,
  ],
  [
    'a limit of the API that was reached after money was spent',
    failing('failed', 'agent_error', { apiStatus: 429, costUsd: 0.01 }),
    429,
    'rate_limit_error',
    'upstream_rate_limited',
    'false',
    undefined,
  ],
  [
    'another refusal of the API',
    failing('failed', 'agent_error', { apiStatus: 401 }),
    500,
    'server_error',
    'agent_failed',
    'false',
    undefined,
  ],
  [
    'an agent that does not start',
    failing('error', 'spawn_error'),
    503,
    'server_error',
    'service_unavailable',
    'true',
    '5',
  ],
];

describe('a run without an answer', () => {
  test.each(failures)('%s is told', async (_what, script, status, type, code, shouldRetry, retryAfter) => {
    const { chat, allJobs } = await createChatApp({ script });
    const answer = await chat(question);
    const [job] = await allJobs();
    expect(answer.statusCode).toBe(status);
    expect(answer.json()).toEqual({ error: { message: expect.any(String), type, param: null, code } });
    expect(answer.body).not.toMatch(/secret|ENOENT|\//);
    // The reason in its one word, but where a sentence says more.
    const named =
      code === 'upstream_rate_limited' || job?.outcome?.reason === 'shutdown' ? '' : `(${job?.outcome?.reason})`;
    expect(answer.body).toContain(named);
    expect(answer.headers['x-should-retry']).toBe(shouldRetry);
    expect(answer.headers['retry-after']).toBe(retryAfter);
    expect(answer.headers['x-job-id']).toBe(job?.id);
    expect(answer.headers['openai-processing-ms']).toMatch(/^\d+$/);
  });

  test('a workspace that cannot be made may be tried again: nothing was spent', async () => {
    const workspaces = createFakeWorkspaces(async () => {
      throw new WorkspaceError('The clone failed');
    });
    const { chat, runner } = await createChatApp({ workspaces });
    const answer = await chat(question);
    expect(answer.statusCode).toBe(503);
    expect(answer.json()).toMatchObject({ error: { type: 'server_error', code: 'workspace_failed' } });
    expect(answer.headers).toMatchObject({
      'retry-after': '5',
      'x-should-retry': 'true',
      'x-job-id': expect.any(String),
    });
    expect(runner.runs).toEqual([]);
  });

  test.each([false, true])('a full queue is 429 before anything else is sent, with stream: %j', async (stream) => {
    const { chat } = await createChatApp({ maxUnfinished: 0 });
    const answer = await chat({ ...question, stream });
    expect(answer.statusCode).toBe(429);
    expect(answer.headers['content-type']).toBe('application/json; charset=utf-8');
    expect(answer.json()).toMatchObject({ error: { type: 'rate_limit_error', code: 'queue_full' } });
    expect(answer.headers).toMatchObject({
      'retry-after': expect.stringMatching(/^[1-5]?\d$/),
      'x-should-retry': 'true',
    });
  });

  test('a shutdown sends those who wait away to try again, and those who run not', async () => {
    const { chat, service, runner, allJobs } = await createChatApp({ capacity: 1, script: untilEnded });
    const running = chat(question);
    await waitFor(
      () => runner.runs.length,
      (runs) => runs === 1,
    );
    const queued = chat(question);
    await waitFor(allJobs, (jobs) => jobs.length === 2);
    await service.drain(0);
    const refused = await chat(question);
    for (const [answer, shouldRetry] of [
      [await running, 'false'],
      [await queued, 'true'],
      [refused, 'true'],
    ] as const) {
      expect(answer.statusCode).toBe(503);
      expect(answer.json()).toMatchObject({ error: { type: 'server_error', code: 'service_unavailable' } });
      expect(answer.headers['x-should-retry']).toBe(shouldRetry);
    }
  });

  test('a job that cannot be waited for is cancelled, and nobody is told to run it again', async () => {
    const { chat, cancels, allJobs } = await createChatApp({
      script: untilEnded,
      jobs: () => ({ wait: async () => await Promise.reject(new Error('/var/lib/store is gone')) }),
    });
    const answer = await chat(question);
    expect(answer.statusCode).toBe(503);
    expect(answer.headers['x-should-retry']).toBe('false');
    expect(answer.body).not.toContain('/var');
    expect(cancels).toEqual([{ id: (await allJobs())[0]?.id, reason: 'cancelled' }]);
  });
});
