import { expect, test } from 'vitest';
import { asRecord, startServiceProcess } from '../helpers/service-process.ts';

test('what a final job asked for is run once more as a job of its own', async () => {
  const service = await startServiceProcess({ env: { MAX_CONCURRENCY: '1' } });
  const request = { prompt: `say: ${'long '.repeat(1_000)}`, metadata: { ticket: 7 } };
  const id = await service.submit(request);
  const first = await service.finished(id);
  const answer = await service.fetch(`/jobs/${id}/retry`, { method: 'POST' });
  const again = asRecord(await answer.json());
  expect([answer.status, again['status'], again['job_id'] === id]).toEqual([202, 'queued', false]);
  expect(answer.headers.get('location')).toBe(`/jobs/${String(again['job_id'])}`);
  const second = await service.finished(String(again['job_id']));
  expect(second).toMatchObject({ ...request, status: 'completed', retry_of: id });
  expect([second['result'], first['retry_of']]).toEqual([first['result'], null]);
  const running = await service.submit({ prompt: 'forever' });
  expect((await service.fetch(`/jobs/${running}/retry`, { method: 'POST' })).status).toBe(409);
  expect((await service.fetch('/jobs/job_unknown/retry', { method: 'POST' })).status).toBe(404);
  await service.fetch(`/jobs/${running}/cancel`, { method: 'POST' });
});

test('once some runs were measured, also before a restart, a queued job tells when it will start', async () => {
  const env = { MAX_CONCURRENCY: '1' };
  const first = await startServiceProcess({ env });
  const early = asRecord(await (await post(first)).json());
  expect(early['expected_start']).toBeNull();
  for (let n = 0; n < 5; n += 1) await first.finished(await first.submit({ prompt: 'say: hello' }));
  first.signal('SIGKILL');
  await first.exited();
  const service = await startServiceProcess({ env, dataDir: first.dataDir });
  const running = await service.submit({ prompt: 'forever' });
  const response = await post(service);
  const { job_id: id, expected_start: expected } = asRecord(await response.json());
  const { at, earliest, latest, samples } = asRecord(expected);
  expect(samples).toBeGreaterThanOrEqual(5);
  expect(String(earliest) <= String(at) && String(at) <= String(latest)).toBe(true);
  expect(response.headers.get('x-expected-start')).toBe(at);
  expect(response.headers.get('x-queue-position')).toMatch(/^[12]$/);
  expect(asRecord(await (await service.fetch(`/jobs/${String(id)}`)).json())['expected_start']).not.toBeNull();
  await service.fetch(`/jobs/${running}/cancel`, { method: 'POST' });
  expect((await service.finished(String(id)))['expected_start']).toBeNull();
});

async function post(service: Awaited<ReturnType<typeof startServiceProcess>>): Promise<Response> {
  return await service.fetch('/execute', { method: 'POST', body: JSON.stringify({ prompt: 'say: hello' }) });
}
