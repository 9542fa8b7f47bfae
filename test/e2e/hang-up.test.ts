import { describe, expect, test } from 'vitest';
import { asRecord, isAlive, type ServiceProcess, startServiceProcess } from '../helpers/service-process.ts';
import { waitFor } from '../helpers/wait.ts';
import { type Tracked, track, untilActive } from './steering.ts';

/** From hanging up to a dead agent and a free place. Of several the median, since the machine has other work. */
const promptlyMs = 1_000;

interface Door {
  readonly path: string;
  body(prompt: string): object;
}

const asMessages = (prompt: string): object => ({ model: 'sonnet', messages: [{ role: 'user', content: prompt }] });
const doors: readonly Door[] = [
  { path: '/v1/chat/completions', body: asMessages },
  { path: '/v1/responses', body: (input) => ({ model: 'sonnet', input }) },
  { path: '/v1/messages', body: (prompt) => ({ ...asMessages(prompt), max_tokens: 100 }) },
];

/** What the agent does, and how it is known that it does. */
const moments: readonly (readonly [string, string, (service: ServiceProcess) => Promise<unknown>])[] = [
  ['while the agent starts', 'start-ms: 60000', async () => {}],
  ['before the first token', 'forever', async (service) => await logHolds(service, '"subtype":"init"')],
  ['in the middle', `delta-ms: 500\nsay: ${'x'.repeat(700)}`, async (service) => await logHolds(service, 'text_delta')],
];

describe.each(doors)('who hangs up on $path, plain or streamed,', ({ path, body }) => {
  const call = (service: ServiceProcess, prompt: string, stream: boolean, signal: AbortSignal): Promise<unknown> =>
    service.post(path, { ...body(prompt), stream }, signal).then(
      async (response) => await response.text().catch(() => 'gone'),
      () => 'gone',
    );

  test.each(moments)('%s takes it along and frees the place at once', async (_when, prompt, reached) => {
    const service = await startServiceProcess({ env: { MAX_CONCURRENCY: '1' } });
    const took: number[] = [];
    for (const stream of [false, true, false, true]) {
      const agent = await track();
      const caller = new AbortController();
      const answer = call(service, `${agent.line}\n${prompt}`, stream, caller.signal);
      await agent.pid();
      await reached(service);
      const hungUpAt = performance.now();
      caller.abort();
      await agent.gone();
      await untilActive(service, 0);
      took.push(performance.now() - hungUpAt);
      expect(await answer).toBe('gone');
      expect(await lastJob(service)).toMatchObject({ status: 'cancelled', reason: 'client_gone' });
    }
    expect(took.toSorted((a, b) => a - b)[1]).toBeLessThan(promptlyMs);
  });

  test('while it waits in the queue starts no agent', async () => {
    const service = await startServiceProcess({ env: { MAX_CONCURRENCY: '1' } });
    const [running, waiting]: [Tracked, Tracked] = [await track(), await track()];
    const first = new AbortController();
    const answers = [call(service, `${running.line}\nforever`, false, first.signal)];
    const pid = await running.pid();
    for (const stream of [false, true]) {
      const second = new AbortController();
      answers.push(call(service, `${waiting.line}\nsay: ${stream}`, stream, second.signal));
      await waitFor(
        async () => (await service.read('/health'))['queued'],
        (queued) => queued === 1,
      );
      second.abort();
      await waitFor(
        async () => await lastJob(service),
        ({ status }) => status === 'cancelled',
      );
      expect(await service.read('/health')).toMatchObject({ active: 1, queued: 0 });
    }
    expect(await isAlive(pid)).toBe(true);
    first.abort();
    await running.gone();
    await untilActive(service, 0);
    expect(await Promise.all(answers)).toEqual(['gone', 'gone', 'gone']);
    expect(waiting.hasStarted()).toBe(false);
  });
});

async function lastJob(service: ServiceProcess): Promise<Record<string, unknown>> {
  const { jobs } = await service.read('/jobs?limit=1');
  return asRecord(Array.isArray(jobs) ? jobs[0] : jobs);
}

async function logHolds(service: ServiceProcess, text: string): Promise<void> {
  const id = String((await lastJob(service))['job_id']);
  await waitFor(
    async () => await (await service.fetch(`/jobs/${id}/log`)).text(),
    (log) => log.includes(text),
    { what: text },
  );
}
