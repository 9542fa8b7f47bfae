import Anthropic from '@anthropic-ai/sdk';
import { describe, expect, test } from 'vitest';
import { token } from '../helpers/service-process.ts';
import { pythonClients } from './client-programs.ts';
import { ask, type ClientSettings, openAiSdks } from './openai-clients.ts';
import { jobsOf, shareFakeService, shareProgram } from './shared-service.ts';

/** A client that waits for less than a run takes gives up and tries again. All its tries are one run. */

const shared = shareFakeService();

const timeoutMs = 3_000;
/** Longer than a client waits in one try, and less than in all of them. */
const work = 'usage: 1000 500\nsleep-ms: 6000\nsay: at last';

/** Resolves with what the client makes of the answer. */
type Call = (settings: ClientSettings, prompt: string) => Promise<unknown>;

const anthropic: Call = async (_, prompt) => {
  const client = new Anthropic({ baseURL: shared.get().url, apiKey: token, timeout: timeoutMs });
  return (await client.messages.create({ ...ask(prompt), max_tokens: 100 })).content;
};

const rows: readonly (readonly [name: string, call: Call])[] = [
  ...openAiSdks.flatMap(({ name, create }): [string, Call][] => [
    [
      `${name}, plain`,
      async (settings, prompt) => {
        const { completions } = create(settings).chat;
        return (await completions.create(ask(prompt), { timeout: timeoutMs })).choices[0]?.message;
      },
    ],
    [
      `${name}, a response`,
      async (settings, prompt) => {
        const { responses } = create(settings);
        return await responses.create({ model: 'sonnet', input: prompt }, { timeout: timeoutMs });
      },
    ],
  ]),
  ['Anthropic SDK', anthropic],
];

describe.concurrent('a run that takes longer than its client waits', () => {
  test.each(rows)('is run once and answered, for %s', async (name, call) => {
    const prompt = `${name}\n${work}`;
    expect(JSON.stringify(await call(shared.settings(), prompt))).toContain('at last');
    expect(await runsOf(prompt)).toMatchObject([{ status: 'completed' }]);
  });

  test.each(rows)('is run once where it fails, for %s', async (name, call) => {
    const prompt = `failing, ${name}\n${work}\napi-error: 500`;
    // In a status where the last try began after the failure, else in the answer.
    const told = await call(shared.settings(), prompt).then(JSON.stringify, String);
    expect(told).toContain('The agent failed');
    expect(await runsOf(prompt)).toMatchObject([{ reason: 'agent_error' }]);
  });
});

const roundTimeoutMs = 5_000;
const longerWork = 'sleep-ms: 8000\nsay: at last';
/** Between the pause of these SDKs and the end of the run 0.1 s is left, which a busy machine may need for itself. */
const attempts = { retry: 2 };

describe('a run that takes longer than its client waits, which does not say so,', () => {
  let attempt = 0;

  test.each(openAiSdks)('is run once and answered, for $name', attempts, async ({ name, create }) => {
    attempt += 1;
    const prompt = `unsaid, ${name}, ${attempt}\n${longerWork}`;
    const { completions } = create({ ...shared.settings(), timeout: roundTimeoutMs }).chat;
    expect((await completions.create(ask(prompt))).choices[0]?.message.content).toBe('at last');
    expect(await runsOf(prompt)).toMatchObject([{ status: 'completed' }]);
  });
});

describe('for Python, a run that takes longer than its client waits', () => {
  const call = shareProgram(pythonClients);
  const forms = ['plain', 'streamed', 'a response'];
  const calls = ['openai', 'openai, async'].flatMap((client) => forms.map((form) => ({ client, form })));

  describe.skipIf(!pythonClients.isInstalled).concurrent('a client', () => {
    test.each(calls)('is run once and answered, for $client, $form', async ({ client, form }) => {
      const prompt = `${client}, ${form}\n${work}`;
      const end = await call(shared.settings(), { client, form, prompt, timeout: timeoutMs / 1000 });
      expect(end).toMatchObject({ tries: 1 });
      expect([end.answer].flat().join('')).toBe('at last');
      expect(await runsOf(prompt)).toMatchObject([{ status: 'completed' }]);
    });
  });
});

async function runsOf(prompt: string) {
  return (await jobsOf(shared.get())).filter((job) => job['prompt'] === prompt);
}
