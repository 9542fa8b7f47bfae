import { describe, expect, test } from 'vitest';
import { emptyReport, type JobOutcome } from '../../../src/jobs/job.ts';
import { completed, type ScriptedRun } from '../../helpers/fake-ports.ts';
import { waitFor } from '../../helpers/wait.ts';
import { type ChatAppOptions, createChatApp, headers, question } from './chat-app.ts';

const usage = { input_tokens: 10, output_tokens: 7 };
const failed: JobOutcome = { status: 'failed', reason: 'exit_nonzero', error: 'no', report: emptyReport };

/** Says the pieces, then ends well with all of them. */
const saying =
  (...pieces: string[]) =>
  async (run: ScriptedRun): Promise<JobOutcome> => {
    for (const piece of pieces) run.say(piece);
    await run.heard();
    return completed({ text: pieces.join(''), usage });
  };

async function open(options: ChatAppOptions, body: object = {}) {
  const chatApp = await createChatApp(options);
  const url = await chatApp.listen();
  const ask = async (): Promise<Response> =>
    await fetch(`${url}/v1/chat/completions`, {
      method: 'POST',
      headers,
      body: JSON.stringify({ ...question, stream: true, ...body }),
    });
  return { ...chatApp, response: await ask(), ask };
}

interface Chunk {
  readonly id: string;
  readonly choices: readonly { readonly delta: { readonly content?: string }; readonly finish_reason: string | null }[];
}

const chunksOf = (text: string): Chunk[] =>
  text
    .split('\n')
    .filter((row) => row.startsWith('data: {'))
    .map((row) => {
      const chunk: Chunk = JSON.parse(row.slice('data: '.length));
      return chunk;
    });
const contentOf = (text: string): string =>
  chunksOf(text)
    .map(({ choices }) => choices[0]?.delta.content ?? '')
    .join('');

/** What is different in each run is made the same. */
const canonical = (text: string): string =>
  text.replace(/chatcmpl-[\w-]{20,}/g, 'chatcmpl-X').replace(/"created":\d{10},/g, '"created":1,');

function line(delta: object, finish: string | null = null, rest: object = {}): string {
  const choices = [{ index: 0, delta, logprobs: null, finish_reason: finish }];
  const chunk = {
    id: 'chatcmpl-X',
    object: 'chat.completion.chunk',
    created: 1,
    model: 'sonnet',
    service_tier: 'default',
  };
  return `data: ${JSON.stringify({ ...chunk, choices, ...rest })}\n\n`;
}

const roleDelta = { role: 'assistant', content: '', refusal: null };

describe('a stream on the wire', () => {
  test('is a role, pieces of text, one finish and [DONE], byte for byte', async () => {
    const { response, allJobs, cancels } = await open({ script: saying('Hel', 'lo') });
    const text = await response.text();
    expect(canonical(text)).toBe(
      line(roleDelta) + line({ content: 'Hel' }) + line({ content: 'lo' }) + line({}, 'stop') + 'data: [DONE]\n\n',
    );
    expect(new Set(chunksOf(text).map(({ id }) => id)).size).toBe(1);
    expect(response.status).toBe(200);
    expect(Object.fromEntries(response.headers)).toMatchObject({
      'content-type': 'text/event-stream; charset=utf-8',
      'cache-control': 'no-cache',
      'x-accel-buffering': 'no',
      'x-request-id': expect.stringMatching(/^req_/),
      'openai-processing-ms': expect.stringMatching(/^\d+$/),
      'x-job-id': (await allJobs())[0]?.id,
    });
    expect(response.headers.has('content-length')).toBe(false);
    expect(cancels).toEqual([]);
  });

  test('tells the usage in a chunk of its own if asked, and null in the others', async () => {
    const { response } = await open({ script: saying('Hi') }, { stream_options: { include_usage: true } });
    const lines = canonical(await response.text()).split('\n\n');
    const none = { usage: null };
    expect(lines.slice(0, 3).map((text) => `${text}\n\n`)).toEqual([
      line(roleDelta, null, none),
      line({ content: 'Hi' }, null, none),
      line({}, 'stop', none),
    ]);
    expect(JSON.parse(lines[3]?.slice('data: '.length) ?? '')).toMatchObject({
      choices: [],
      usage: { prompt_tokens: 10, completion_tokens: 7, total_tokens: 17 },
    });
    expect(lines.slice(4)).toEqual(['data: [DONE]', '']);
  });

  test('names the ignored fields', async () => {
    const { response } = await open({ script: saying('Hi') }, { temperature: 1 });
    expect(response.headers.get('x-ignored-params')).toBe('temperature');
    await response.text();
  });

  test('has its headers and its first chunk while the job waits in the queue', async () => {
    const gate = Promise.withResolvers<void>();
    const script = async (): Promise<JobOutcome> => {
      await gate.promise;
      return completed({ text: 'late' });
    };
    const { service, response: first, ask } = await open({ capacity: 1, script });
    const second = await ask();
    expect(service.stats()).toMatchObject({ active: 1, queued: 1 });
    const reader = second.body?.getReader();
    const bytes: Uint8Array | undefined = (await reader?.read())?.value;
    expect(canonical(Buffer.from(bytes ?? []).toString())).toBe(line(roleDelta));
    gate.resolve();
    while ((await reader?.read())?.done === false);
    expect(contentOf(await first.text())).toBe('late');
  });
});

describe('the text of a stream', () => {
  test.each([
    ['nothing said', [], { text: 'all of it' }, 'all of it'],
    ['a part said', ['all '], { text: 'all of it' }, 'all of it'],
    ['all said', ['all ', 'of it'], { text: 'all of it' }, 'all of it'],
    ['only a result', [], { text: null, result: 'all of it' }, 'all of it'],
    ['something said and only a result', ['all '], { text: null, result: 'it' }, 'all '],
    ['no text at all', [], { text: '' }, ''],
  ])('is that of the plain answer: %s', async (_what, pieces, report, content) => {
    const script = async (run: ScriptedRun): Promise<JobOutcome> => {
      for (const piece of pieces) run.say(piece);
      await run.heard();
      return completed(report);
    };
    const { response } = await open({ script });
    const text = await response.text();
    expect(contentOf(text)).toBe(content);
    expect(text).toMatch(/"finish_reason":"stop".*\n\ndata: \[DONE\]\n\n$/);
  });

  test('arrives piece by piece, as the agent says it', async () => {
    const heard = Promise.withResolvers<void>();
    const script = async (run: ScriptedRun): Promise<JobOutcome> => {
      run.say('first');
      await heard.promise;
      run.say(' second');
      return completed({ text: 'first second' });
    };
    const { response } = await open({ script });
    let text = '';
    for await (const bytes of response.body ?? []) {
      text += Buffer.from(bytes).toString();
      if (text.includes('first')) heard.resolve();
    }
    expect(contentOf(text)).toBe('first second');
  });

  test('a run cut short by its budget ends as cut', async () => {
    const outcome: JobOutcome = { ...failed, reason: 'budget', report: { ...emptyReport, text: 'So far' } };
    const { response } = await open({ script: async () => outcome });
    const text = await response.text();
    expect(contentOf(text)).toBe('So far');
    expect(text).toMatch(/"finish_reason":"length".*\n\ndata: \[DONE\]\n\n$/);
  });
});

describe('a stream that fails', () => {
  test('tells so in an event, without a finish, usage or [DONE]', async () => {
    const script = async (run: ScriptedRun): Promise<JobOutcome> => {
      run.say('half');
      await run.heard();
      return failed;
    };
    const { response, cancels } = await open({ script }, { stream_options: { include_usage: true } });
    const text = canonical(await response.text());
    const error = {
      message: 'The agent failed: it exited with an error (exit_nonzero)',
      type: 'server_error',
      param: null,
      code: 'agent_failed',
    };
    expect(text.endsWith(`data: ${JSON.stringify({ error })}\n\n`)).toBe(true);
    expect(text).not.toMatch(/DONE|"finish_reason":"|total_tokens/);
    expect(cancels).toEqual([]);
  });

  test.each([
    [
      'breaks',
      () => {
        throw new Error('/var/lib/store is gone');
      },
    ],
    ['ends too early', async function* () {}],
  ])('because the job service %s tells so, and the job is cancelled', async (_what, follow) => {
    const { response, cancels, allJobs } = await open({
      script: async () => await new Promise<never>(() => {}),
      jobs: () => ({ follow }),
    });
    const text = await response.text();
    expect(text).toMatch(
      /data: \{"error":\{"message":"[^/]+","type":"server_error","param":null,"code":"service_unavailable"\}\}\n\n$/,
    );
    expect(cancels).toEqual([{ id: (await allJobs())[0]?.id, reason: 'cancelled' }]);
  });

  test('at a shutdown while it waits says that the service is going', async () => {
    const {
      service,
      runner,
      response: first,
      ask,
    } = await open({ capacity: 1, script: async () => await new Promise<never>(() => {}) });
    await waitFor(
      () => runner.runs.length,
      (runs) => runs === 1,
    );
    const second = await ask();
    await service.drain(0);
    expect(await second.text()).toMatch(/before the run began.*"code":"service_unavailable"\}\}\n\n$/);
    expect(await first.text()).toMatch(/before the run ended.*"code":"service_unavailable"\}\}\n\n$/);
  });
});

describe('a silent stream', () => {
  const shortTiming = { commentMs: 20, emptyChunkMs: 3_600_000 };

  test('tells the place in the queue and then that it runs, in comments that end with one newline', async () => {
    const gates = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
    let runs = 0;
    const script = async (): Promise<JobOutcome> => {
      await gates[runs++]?.promise;
      return completed({ text: 'x' });
    };
    const { response: first, ask } = await open({ capacity: 1, script, settings: { streamTiming: shortTiming } });
    const second = await ask();
    let text = '';
    for await (const bytes of second.body ?? []) {
      text += Buffer.from(bytes).toString();
      if (text.includes(': queued 1\n')) gates[0]?.resolve();
      if (text.includes(': running\n')) gates[1]?.resolve();
    }
    expect(canonical(text)).toMatch(
      /^data: .*\n\n(: queued 1\n)+(: running\n)+data: .*\n\ndata: .*\n\ndata: \[DONE\]\n\n$/,
    );
    await first.text();
  });

  test('sends a chunk without content after a long silence: comments do not count for all clients', async () => {
    const gate = Promise.withResolvers<void>();
    const script = async (): Promise<JobOutcome> => {
      await gate.promise;
      return completed({ text: 'x' });
    };
    const timing = { commentMs: 3_600_000, emptyChunkMs: 20 };
    const { response } = await open({ script, settings: { streamTiming: timing } });
    let text = '';
    for await (const bytes of response.body ?? []) {
      text += canonical(Buffer.from(bytes).toString());
      if (text.split(line({})).length > 2) gate.resolve();
    }
    expect(text.replaceAll(line({}), '')).toBe(
      line(roleDelta) + line({ content: 'x' }) + line({}, 'stop') + 'data: [DONE]\n\n',
    );
  });

  test('survives a store that cannot be read for a comment', async () => {
    const gate = Promise.withResolvers<void>();
    let reads = 0;
    const { response } = await open({
      script: async () => {
        await gate.promise;
        return completed({ text: 'x' });
      },
      settings: { streamTiming: { commentMs: 5, emptyChunkMs: 3_600_000 } },
      jobs: () => ({
        get: async () => {
          reads += 1;
          if (reads > 2) gate.resolve();
          return await Promise.reject(new Error('away'));
        },
      }),
    });
    expect(contentOf(await response.text())).toBe('x');
  });
});
