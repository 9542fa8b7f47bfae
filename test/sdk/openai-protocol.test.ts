import OpenAI from 'openai';
import { afterEach, describe, expect, onTestFinished, test } from 'vitest';
import { untilActive } from '../e2e/steering.ts';
import { waitFor } from '../helpers/wait.ts';
import { hurryRetries } from './hurried-clock.ts';
import { ask, type OpenAiClient, type OpenAiSdk, openAiSdks } from './openai-clients.ts';
import { collect, jobsOf, rejection, shareFakeService } from './shared-service.ts';

/** What the agent has no part in. One call at a time and none in the queue: a second one shows whether the first is gone. */
const shared = shareFakeService({ MAX_CONCURRENCY: '1', MAX_QUEUE_DEPTH: '1', KILL_GRACE_SECONDS: '1' });

const forever = ask('say: so far\nforever');
const quick = ask('say: done');
const text = 'one two three four five six seven';
const tools = ['lookup', 'pay'].map((name) => ({
  type: 'function' as const,
  function: { name, parameters: { type: 'object', properties: {} } },
}));

/** A full queue is what a client waits for by itself: here it is to say so at once. */
function connect(sdk: OpenAiSdk): OpenAiClient {
  return sdk.create({ ...shared.settings(), maxRetries: 0 });
}

async function untilIdle(): Promise<void> {
  await waitFor(
    () => shared.get().read('/health'),
    ({ active, queued }) => active === 0 && queued === 0,
    { what: 'no job to be left' },
  );
}

/** The newest job, once none runs. */
async function endedJob(): Promise<unknown> {
  await untilIdle();
  return (await jobsOf(shared.get()))[0];
}

const hungUp = { status: 'cancelled', reason: 'client_gone' };

describe.each(openAiSdks)('$name', (sdk) => {
  afterEach(untilIdle);

  test('assembles a stream with its own helper', async () => {
    const answer = await sdk.assembled(shared.settings(), ask(`say: ${text}`));
    expect(answer.choices).toMatchObject([{ message: { content: text }, finish_reason: 'stop' }]);
  });

  test('gets words where it offers functions, and is refused where one of several must be called', async () => {
    const { completions } = connect(sdk).chat;
    const answer = await completions.create({ ...quick, tools, tool_choice: 'auto' });
    expect(answer.choices).toMatchObject([{ message: { content: 'done' }, finish_reason: 'stop' }]);
    expect(answer.choices[0]?.message).not.toHaveProperty('tool_calls');
    const error = await rejection(completions.create({ ...quick, tools, tool_choice: 'required' }));
    expect(error).toBeInstanceOf(sdk.errors.BadRequestError);
    expect(error).toMatchObject({ param: 'tool_choice', code: 'unsupported_value' });
  });

  test('lists the models and reads one', async () => {
    const { models } = connect(sdk);
    expect((await collect(models.list())).map(({ id }) => id)).toEqual(expect.arrayContaining(['haiku', 'sonnet']));
    expect(await models.retrieve('sonnet')).toMatchObject({ id: 'sonnet', object: 'model' });
  });

  test('gets a response, and reads it again', async () => {
    const { responses } = connect(sdk);
    const created = await responses.create({ model: 'sonnet', input: `say: ${text}` });
    expect(created).toMatchObject({ status: 'completed', output_text: text });
    expect(await responses.retrieve(created.id)).toMatchObject({ id: created.id, output: created.output });
  });

  test('gets a response as it comes', async () => {
    const { responses } = sdk.create(shared.settings());
    const events = await collect(await responses.create({ model: 'sonnet', input: `say: ${text}`, stream: true }));
    const types = events.map(({ type }) => type);
    expect(types[0]).toBe('response.created');
    expect(types.filter((type) => type === 'response.output_text.delta').length).toBeGreaterThan(1);
    expect(types.at(-1)).toBe('response.completed');
  });

  test('has its own class of error for each refusal', async () => {
    const { chat, models } = connect(sdk);
    const stranger = sdk.create({ ...shared.settings(), apiKey: 'wrong' });
    const { errors } = sdk;
    const unauthenticated = await rejection(stranger.chat.completions.create(quick));
    expect(unauthenticated).toBeInstanceOf(errors.AuthenticationError);
    expect(unauthenticated).toMatchObject({ status: 401, code: 'invalid_api_key', type: 'invalid_request_error' });
    const wrong = await rejection(chat.completions.create({ ...quick, n: 2 }));
    expect(wrong).toBeInstanceOf(errors.BadRequestError);
    expect(wrong).toMatchObject({ status: 400, code: 'unsupported_value', param: 'n' });
    const unknown = await rejection(models.retrieve('gpt-4o'));
    expect(unknown).toBeInstanceOf(errors.NotFoundError);
    expect(unknown).toMatchObject({ status: 404, code: 'model_not_found', param: 'model' });
    expect(await rejection(chat.completions.create({ ...quick, model: 'gpt-4o' }))).toBeInstanceOf(
      errors.NotFoundError,
    );
  });

  test('is told of a full queue', async () => {
    const { completions } = connect(sdk).chat;
    const holder = new AbortController();
    const held = await completions.create({ ...forever, stream: true }, { signal: holder.signal });
    const error = await rejection(completions.create(quick));
    expect(error).toBeInstanceOf(sdk.errors.RateLimitError);
    expect(error).toMatchObject({ status: 429, code: 'queue_full', type: 'rate_limit_error' });
    // Held until here: an answer that nobody holds is closed when memory is tidied up.
    expect(held).toBeDefined();
    holder.abort();
  });

  test('gives its place back when it is aborted', async () => {
    const { completions } = connect(sdk).chat;
    const controller = new AbortController();
    const call = rejection(completions.create(forever, { signal: controller.signal }));
    await untilActive(shared.get(), 1);
    controller.abort();
    expect(await call).toBeInstanceOf(sdk.errors.APIUserAbortError);
    expect(await endedJob()).toMatchObject(hungUp);
    expect((await completions.create(quick)).choices).toMatchObject([{ message: { content: 'done' } }]);
  });

  test('gives its place back when its stream is aborted', async () => {
    const { completions } = connect(sdk).chat;
    const controller = new AbortController();
    const chunks = collect(await completions.create({ ...forever, stream: true }, { signal: controller.signal }));
    await untilActive(shared.get(), 1);
    controller.abort();
    // Such a loop just ends, in all of them.
    await chunks;
    expect(await endedJob()).toMatchObject(hungUp);
    expect((await completions.create(quick)).choices).toMatchObject([{ message: { content: 'done' } }]);
  });

  test('gives its place back when it leaves the loop over a stream', async () => {
    const { completions } = connect(sdk).chat;
    for await (const chunk of await completions.create({ ...forever, stream: true })) {
      if (chunk.choices[0]?.delta.content) break;
    }
    expect(await endedJob()).toMatchObject(hungUp);
  });
});

describe('openai 7', () => {
  test('assembles the stream of a response with its own helper', async () => {
    const { responses } = new OpenAI(shared.settings());
    const final = await responses.stream({ model: 'sonnet', input: `say: ${text}` }).finalResponse();
    expect(final).toMatchObject({ status: 'completed', output_text: text });
  });

  test('waits for a place by itself', async () => {
    onTestFinished(hurryRetries());
    const holder = new AbortController();
    const held = await new OpenAI(shared.settings()).chat.completions.create(
      { ...forever, stream: true },
      { signal: holder.signal },
    );
    const statuses: number[] = [];
    const client = new OpenAI({
      ...shared.settings(),
      fetch: async (...args) => {
        if (statuses.length > 0) holder.abort();
        if (statuses.length > 0) await untilIdle();
        const response = await fetch(...args);
        statuses.push(response.status);
        return response;
      },
    });
    expect((await client.chat.completions.create(quick)).choices[0]?.message.content).toBe('done');
    expect(statuses).toEqual([429, 200]);
    expect(held).toBeDefined();
  });
});
