import { expect, test } from 'vitest';
import { asRecord, startServiceProcess } from '../helpers/service-process.ts';
import { createGate, track } from './steering.ts';

const doomed = { status: 'cancelled', reason: 'dependency', started_at: null, error: expect.any(String) };

test('a job starts after another one has completed, also across a kill, at its own place', async () => {
  const [agent, gate] = [await track(), await createGate()];
  const env = { MAX_CONCURRENCY: '1' };
  const service = await startServiceProcess({ env });
  const running = await service.submit({ prompt: `${agent.line}\n${gate.line}` });
  const first = await service.submit({ prompt: 'say: first' });
  const second = await service.submit({ prompt: 'say: second', after: first });
  const third = await service.submit({ prompt: 'say: third', after: second });
  const lost = await service.submit({ prompt: 'say: never', after: running });
  const other = await service.submit({ prompt: 'say: other' });
  expect(await service.read(`/jobs/${second}`)).toMatchObject({ queue_position: null, after: first });
  await agent.pid();
  service.signal('SIGKILL');
  await service.exited();
  await gate.open();
  const next = await startServiceProcess({ env, dataDir: service.dataDir });
  expect(await next.finished(lost)).toMatchObject(doomed);
  const jobs = await Promise.all([first, second, third, other].map(next.finished));
  expect(jobs.map((job) => job['result'])).toEqual(['first', 'second', 'third', 'other']);
  const starts = jobs.map((job) => String(job['started_at']));
  expect(starts).toEqual(starts.toSorted());
});

test('who waits for a job is told when it will never start; an unknown one to start after is named', async () => {
  const agent = await track();
  const service = await startServiceProcess();
  const running = await service.submit({ prompt: `${agent.line}\nforever` });
  const second = await service.submit({ prompt: 'say: never', after: running });
  const third = await service.submit({ prompt: 'say: never', after: second });
  await agent.pid();
  const waits = [second, third].map(service.finished);
  const events = service.fetch(`/jobs/${third}/events`).then((response) => response.text());
  await service.fetch(`/jobs/${running}/cancel`, { method: 'POST' });
  expect(await Promise.all(waits)).toMatchObject([doomed, doomed]);
  expect(await events).toMatch(/^id: 1\nevent: status\n[^]*\nid: 2\nevent: end\n.*"reason":"dependency".*\n\n$/);
  const late = await service.post('/execute', { prompt: 'say: never', after: third });
  expect([late.status, asRecord(await late.json())['status']]).toEqual([202, 'cancelled']);
  for (const after of [`job_${'x'.repeat(27)}`, 'no job', '']) {
    const refused = await service.post('/execute', { prompt: 'x', after });
    expect(refused.status).toBe(400);
    expect(asRecord(await refused.json())).toMatchObject({ code: 'invalid_request', errors: [{ path: 'after' }] });
  }
  const again = await service.fetch(`/jobs/${second}/retry`, { method: 'POST' });
  const retried = await service.finished(String(asRecord(await again.json())['job_id']));
  expect(retried).toMatchObject({ status: 'completed', after: null, retry_of: second });
});
