import OpenAI from 'openai';
import { describe, expect, test } from 'vitest';
import { emptyReport, type JobOutcome } from '../../../src/jobs/job.ts';
import { completed, type ScriptedRun } from '../../helpers/fake-ports.ts';
import { waitFor } from '../../helpers/wait.ts';
import { type ChatApp, type ChatAppOptions, createChatApp, token } from './chat-app.ts';

const messages: OpenAI.ChatCompletionMessageParam[] = [{ role: 'user', content: 'Hi' }];
const usage = { input_tokens: 10, output_tokens: 7 };
const failed: JobOutcome = { status: 'failed', reason: 'agent_error', error: 'no', report: emptyReport };

const hello = async (run: ScriptedRun): Promise<JobOutcome> => {
  run.say('Hel');
  run.say('lo');
  return completed({ text: 'Hello', usage });
};

async function connect(options: ChatAppOptions): Promise<ChatApp & { client: OpenAI }> {
  const chatApp = await createChatApp(options);
  const client = new OpenAI({ baseURL: `${await chatApp.listen()}/v1`, apiKey: token });
  return { ...chatApp, client };
}

describe('the OpenAI SDK', () => {
  test('gets a plain answer', async () => {
    const { client } = await connect({ script: hello });
    const answer = await client.chat.completions.create({ model: 'sonnet', messages, temperature: 0.5 });
    expect(answer.choices[0]?.message.content).toBe('Hello');
    expect(answer.choices[0]?.finish_reason).toBe('stop');
    expect(answer.usage?.total_tokens).toBe(17);
    expect(answer).toHaveProperty('_request_id', expect.stringMatching(/^req_/));
  });

  test('gets a stream, with its usage last', async () => {
    const { client } = await connect({ script: hello });
    const stream = await client.chat.completions.create({
      model: 'sonnet',
      messages,
      stream: true,
      stream_options: { include_usage: true },
    });
    let text = '';
    let last: OpenAI.ChatCompletionChunk | undefined;
    for await (const chunk of stream) {
      text += chunk.choices[0]?.delta.content ?? '';
      last = chunk;
    }
    expect(text).toBe('Hello');
    expect(last).toMatchObject({ choices: [], usage: { total_tokens: 17 } });
  });

  test('assembles a stream with its own helper, comments and empty chunks in between', async () => {
    const gate = Promise.withResolvers<void>();
    let comments = 0;
    const { client } = await connect({
      script: async (run) => {
        run.say('Hel');
        await gate.promise;
        run.say('lo');
        return completed({ text: 'Hello', usage });
      },
      settings: { streamTiming: { commentMs: 5, emptyChunkMs: 20 } },
      jobs: (jobs) => ({
        get: async (id) => {
          comments += 1;
          if (comments === 10) gate.resolve();
          return await jobs.get(id);
        },
      }),
    });
    const final = await client.chat.completions.stream({ model: 'sonnet', messages }).finalChatCompletion();
    expect(final.choices[0]).toMatchObject({ message: { content: 'Hello' }, finish_reason: 'stop' });
  });

  test('lists and reads models', async () => {
    const { client } = await connect({});
    const ids: string[] = [];
    for await (const model of client.models.list()) ids.push(model.id);
    expect(ids).toEqual(['haiku', 'sonnet', 'claude-sonnet-4-6']);
    expect((await client.models.retrieve('sonnet')).id).toBe('sonnet');
    await expect(client.models.retrieve('gpt-4o')).rejects.toBeInstanceOf(OpenAI.NotFoundError);
  });

  test.each([false, true])('aborting cancels the job, with stream: %j', async (stream) => {
    const { client, runner, cancels, allJobs } = await connect({
      script: async () => await new Promise<never>(() => {}),
    });
    const controller = new AbortController();
    const call = client.chat.completions.create({ model: 'sonnet', messages, stream }, { signal: controller.signal });
    const settled = call.then(
      () => 'answered',
      () => 'aborted',
    );
    await waitFor(
      () => runner.runs.length,
      (runs) => runs === 1,
    );
    if (stream) await settled;
    controller.abort();
    expect(await settled).toBe(stream ? 'answered' : 'aborted');
    await waitFor(allJobs, ([job]) => job?.status === 'cancelled');
    expect(cancels).toEqual([{ id: (await allJobs())[0]?.id, reason: 'client_gone' }]);
    expect(runner.runs).toHaveLength(1);
  });

  test('leaving a stream early cancels the job', async () => {
    const { client, cancels } = await connect({
      script: async (run) => {
        run.say('enough');
        return await new Promise<never>(() => {});
      },
    });
    for await (const chunk of await client.chat.completions.create({ model: 'sonnet', messages, stream: true })) {
      if (chunk.choices[0]?.delta.content === 'enough') break;
    }
    await waitFor(
      () => cancels.length,
      (count) => count > 0,
    );
    expect(cancels).toMatchObject([{ reason: 'client_gone' }]);
  });

  test('runs a failing agent once: it obeys x-should-retry', async () => {
    const { client, runner } = await connect({ script: async () => failed });
    const error = await client.chat.completions.create({ model: 'sonnet', messages }).catch((cause: unknown) => cause);
    expect(error).toBeInstanceOf(OpenAI.InternalServerError);
    expect(error).toMatchObject({ status: 500, code: 'agent_failed', type: 'server_error', param: null });
    expect(runner.runs).toHaveLength(1);
  });

  test('gets an APIError from a stream that fails on the way', async () => {
    const { client, runner } = await connect({
      script: async (run) => {
        run.say('half');
        await run.heard();
        return failed;
      },
    });
    let text = '';
    const read = async (): Promise<void> => {
      const stream = await client.chat.completions.create({ model: 'sonnet', messages, stream: true });
      for await (const chunk of stream) text += chunk.choices[0]?.delta.content ?? '';
    };
    const error = await read().catch((cause: unknown) => cause);
    expect(error).toBeInstanceOf(OpenAI.APIError);
    expect(error).toMatchObject({ code: 'agent_failed', type: 'server_error' });
    expect(text).toBe('half');
    expect(runner.runs).toHaveLength(1);
  });

  test('gets its own error classes for what is refused', async () => {
    const { client } = await connect({});
    const create = (body: object): Promise<unknown> =>
      client.chat.completions.create({ model: 'sonnet', messages, ...body }).then(undefined, (error: unknown) => error);
    expect(await create({ n: 2 })).toBeInstanceOf(OpenAI.BadRequestError);
    expect(await create({ n: 2 })).toMatchObject({ code: 'unsupported_value', param: 'n' });
    expect(await create({ model: 'gpt-4o' })).toBeInstanceOf(OpenAI.NotFoundError);
    const stranger = client.withOptions({ apiKey: 'wrong' });
    await expect(stranger.models.list()).rejects.toBeInstanceOf(OpenAI.AuthenticationError);
  });

  test.each([
    ['', 'the base URL ends in /v1'],
    ['/v1/v1', 'one /v1 too many'],
  ])('is told what is wrong with the base URL %j', async (path, reason) => {
    const app = await createChatApp();
    const client = new OpenAI({ baseURL: `${await app.listen()}${path}`, apiKey: token });
    const call = client.chat.completions.create({ model: 'sonnet', messages });
    const error: unknown = await call.catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(OpenAI.NotFoundError);
    expect(error).toMatchObject({ code: 'unknown_url', message: expect.stringContaining(reason) });
  });

  test('is told of a full queue, and how to go on', async () => {
    const { client } = await connect({ maxUnfinished: 0 });
    const create = client.withOptions({ maxRetries: 0 }).chat.completions.create({ model: 'sonnet', messages });
    const error = await create.then(undefined, (cause: unknown) => cause);
    expect(error instanceof OpenAI.RateLimitError && error.headers.get('x-should-retry')).toBe('true');
  });
});
