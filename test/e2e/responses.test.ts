import { describe, expect, test } from 'vitest';
import { z } from 'zod';
import { type ServiceProcess, startServiceProcess } from '../helpers/service-process.ts';
import { waitFor } from '../helpers/wait.ts';

const Numbered = z.looseObject({ type: z.string(), sequence_number: z.number() });
type Numbered = z.output<typeof Numbered>;

async function follow(service: ServiceProcess, id: string, query = ''): Promise<readonly Numbered[]> {
  const response = await service.fetch(`/v1/responses/${id}?stream=true${query}`);
  const lines = (await response.text()).split('\n').filter((line) => line.startsWith('data: '));
  return lines.map((line) => Numbered.parse(JSON.parse(line.slice('data: '.length))));
}

async function begin(service: ServiceProcess, input: string): Promise<string> {
  const response = await service.post('/v1/responses', { input, background: true });
  const body: unknown = await response.json();
  return typeof body === 'object' && body !== null && 'id' in body ? String(body.id) : '';
}

async function ended(service: ServiceProcess, id: string): Promise<void> {
  await waitFor(
    async () => (await service.read(`/v1/responses/${id}`))['status'],
    (status) => status === 'completed' || status === 'failed',
    { what: 'the response to end' },
  );
}

describe('a response that is followed again', () => {
  test('has the same events with the same numbers after its end, from any of them on', async () => {
    const service = await startServiceProcess();
    const id = await begin(service, `delta-ms: 20\nsay: ${'word '.repeat(40)}`);
    const live = await follow(service, id);
    const deltas = live.filter(({ type }) => type === 'response.output_text.delta');
    expect(deltas.length).toBeGreaterThan(3);
    expect(live.map(({ sequence_number }) => sequence_number)).toEqual(live.map((_, index) => index));
    await ended(service, id);
    expect(await follow(service, id)).toEqual(live);
    for (const after of [0, 1, 4, 6, live.length - 2, live.length - 1, live.length + 5])
      expect(await follow(service, id, `&starting_after=${after}`)).toEqual(live.slice(after + 1));
  });

  test('can be resumed in the middle while it runs', async () => {
    const service = await startServiceProcess();
    const id = await begin(service, `delta-ms: 50\nsay: ${'word '.repeat(40)}`);
    const [whole, rest] = await Promise.all([follow(service, id), follow(service, id, '&starting_after=5')]);
    expect(rest).toEqual(whole.slice(6));
  });

  test('has the same numbers where it failed', async () => {
    const service = await startServiceProcess();
    const id = await begin(service, 'delta-ms: 20\nsay: half of it\napi-error: 500');
    const live = await follow(service, id);
    expect(live.at(-1)).toMatchObject({ type: 'response.failed' });
    expect(await follow(service, id)).toEqual(live);
    const unstarted = await begin(service, 'api-error: 500');
    await ended(service, unstarted);
    expect((await follow(service, unstarted, '&starting_after=2')).map(({ type }) => type)).toContain(
      'response.failed',
    );
  });

  test.each(['?starting_after=1', '?stream=true&starting_after=-1', '?stream=true&starting_after=x'])(
    'is refused with %s',
    async (query) => {
      const service = await startServiceProcess();
      const id = await begin(service, 'say: x');
      const response = await service.fetch(`/v1/responses/${id}${query}`);
      expect(response.status).toBe(400);
      expect(await response.json()).toMatchObject({
        error: { type: 'invalid_request_error', param: 'starting_after' },
      });
    },
  );
});
