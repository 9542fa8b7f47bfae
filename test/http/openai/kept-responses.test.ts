import OpenAI from 'openai';
import { describe, expect, test } from 'vitest';
import { emptyReport, type JobOutcome } from '../../../src/jobs/job.ts';
import { completed, type ScriptedRun } from '../../helpers/fake-ports.ts';
import { waitFor } from '../../helpers/wait.ts';
import { type ChatApp, type ChatAppOptions, createChatApp, token } from './chat-app.ts';

const usage = { input_tokens: 10, cache_read_input_tokens: 3, output_tokens: 7 };
const hello = async (run: ScriptedRun): Promise<JobOutcome> => {
  run.say('Hel');
  await run.heard();
  run.say('lo');
  return completed({ text: 'Hello', usage });
};
const failed: JobOutcome = { status: 'failed', reason: 'agent_error', error: 'no', report: emptyReport };
const forever = async (): Promise<never> => await new Promise(() => {});

async function connect(options: ChatAppOptions = {}): Promise<ChatApp & { client: OpenAI }> {
  const app = await createChatApp(options);
  return { ...app, client: new OpenAI({ baseURL: `${await app.listen()}/v1`, apiKey: token }) };
}

async function eventsOf(
  stream: AsyncIterable<OpenAI.Responses.ResponseStreamEvent>,
): Promise<readonly OpenAI.Responses.ResponseStreamEvent[]> {
  const events: OpenAI.Responses.ResponseStreamEvent[] = [];
  for await (const event of stream) events.push(event);
  return events;
}

describe('a streamed response', () => {
  test('has every event of a message, numbered', async () => {
    const { client } = await connect({ script: hello });
    const events = await eventsOf(await client.responses.create({ model: 'sonnet', input: 'Hi', stream: true }));
    expect(events.map(({ type }) => type)).toEqual([
      'response.created',
      'response.queued',
      'response.in_progress',
      'response.output_item.added',
      'response.content_part.added',
      'response.output_text.delta',
      'response.output_text.delta',
      'response.output_text.done',
      'response.content_part.done',
      'response.output_item.done',
      'response.completed',
    ]);
    expect(events.map(({ sequence_number }) => sequence_number)).toEqual(events.map((_, i) => i));
    expect(events[0]).toMatchObject({ response: { status: 'queued', output: [], usage: null } });
    expect(events[2]).toMatchObject({ response: { status: 'in_progress' } });
    expect(events.at(-1)).toMatchObject({
      response: { status: 'completed', output: [{ content: [{ text: 'Hello' }] }], usage: { total_tokens: 20 } },
    });
  });

  test("is assembled by the SDK's helper", async () => {
    const { client } = await connect({ script: hello });
    const final = await client.responses.stream({ model: 'sonnet', input: 'Hi' }).finalResponse();
    expect(final).toMatchObject({ status: 'completed', output_text: 'Hello' });
  });

  test('has every event of a call', async () => {
    const { client } = await connect({ script: async () => completed({ text: '{"a":1}' }) });
    const tools = [{ type: 'function' as const, name: 'f', parameters: {}, strict: false }];
    const stream = await client.responses.create({
      model: 'sonnet',
      input: 'Hi',
      tools,
      tool_choice: 'required',
      stream: true,
    });
    const events = await eventsOf(stream);
    expect(events.slice(3).map(({ type }) => type)).toEqual([
      'response.output_item.added',
      'response.function_call_arguments.delta',
      'response.function_call_arguments.done',
      'response.output_item.done',
      'response.completed',
    ]);
  });

  test.each([
    ['response.failed', 'failed', failed],
    ['response.incomplete', 'incomplete', { ...failed, reason: 'budget', report: { ...emptyReport, text: 'half' } }],
  ] as const)('ends with %s', async (type, status, outcome) => {
    const { client } = await connect({ script: async () => outcome });
    const events = await eventsOf(await client.responses.create({ model: 'sonnet', input: 'Hi', stream: true }));
    expect(events.at(-1)).toMatchObject({ type, response: { status } });
  });

  test('takes its run along when its caller hangs up', async () => {
    const { client, cancels } = await connect({ script: forever });
    const stream = await client.responses.create({ model: 'sonnet', input: 'Hi', stream: true });
    stream.controller.abort();
    await waitFor(
      () => cancels.length,
      (count) => count === 1,
    );
    expect(cancels).toMatchObject([{ reason: 'client_gone' }]);
  });
});

describe('a response in the background', () => {
  test('is answered at once, runs on, and can be read and followed', async () => {
    const gate = Promise.withResolvers<void>();
    const { client, allJobs } = await connect({
      script: async () => {
        await gate.promise;
        return completed({ text: 'Hello', usage });
      },
    });
    const first = await client.responses.create({ model: 'sonnet', input: 'Hi', background: true });
    expect(first).toMatchObject({ status: 'queued', background: true, output: [] });
    expect((await allJobs())[0]?.spec.kind).toBe('execute');
    await waitFor(
      async () => await client.responses.retrieve(first.id),
      ({ status }) => status === 'in_progress',
    );
    const followed = client.responses.retrieve(first.id, { stream: true }).then(eventsOf);
    gate.resolve();
    expect((await followed).at(-1)).toMatchObject({
      type: 'response.completed',
      response: { output: [{ content: [{ text: 'Hello' }] }] },
    });
    expect(await client.responses.retrieve(first.id)).toMatchObject({ status: 'completed', output_text: 'Hello' });
  });

  test('outlives the stream that began it', async () => {
    const { client, cancels, service } = await connect({ script: forever });
    const stream = await client.responses.create({ model: 'sonnet', input: 'Hi', background: true, stream: true });
    stream.controller.abort();
    const other = await client.responses.create({ model: 'sonnet', input: 'Other', background: true });
    await client.responses.retrieve(other.id);
    await waitFor(
      () => service.stats().active,
      (active) => active === 2,
    );
    expect(cancels).toEqual([]);
  });

  test('can be cancelled, running or not, and more than once', async () => {
    const { client } = await connect({ script: forever, capacity: 1 });
    const running = await client.responses.create({ model: 'sonnet', input: 'Hi', background: true });
    const queued = await client.responses.create({ model: 'sonnet', input: 'Ho', background: true });
    for (const { id } of [queued, running, running]) {
      expect(await client.responses.cancel(id)).toMatchObject({ id, status: 'cancelled', error: null });
    }
  });
});

describe('a kept response', () => {
  test('can be deleted, also while it runs', async () => {
    const { client, allJobs } = await connect({ script: forever });
    const { id } = await client.responses.create({ model: 'sonnet', input: 'Hi', background: true });
    await client.responses.delete(id);
    await expect(client.responses.retrieve(id)).rejects.toBeInstanceOf(OpenAI.NotFoundError);
    expect(await allJobs()).toEqual([]);
  });

  test('is not there where it was not to be stored, nor is any other job', async () => {
    const { client, chat } = await connect();
    const { id } = await client.responses.create({ model: 'sonnet', input: 'Hi', store: false });
    const job = (await chat({ messages: [{ role: 'user', content: 'Hi' }] })).headers['x-job-id'];
    for (const unknown of [id, String(job).replace('job_', 'resp_'), String(job), 'resp_1']) {
      await expect(client.responses.retrieve(unknown)).rejects.toMatchObject({ status: 404, code: 'not_found' });
      await expect(client.responses.delete(unknown)).rejects.toMatchObject({ status: 404 });
      await expect(client.responses.cancel(unknown)).rejects.toMatchObject({ status: 404 });
    }
  });
});
