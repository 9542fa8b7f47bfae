import { describe, expect, test } from 'vitest';
import { asRecord, type ServiceProcess, startServiceProcess } from '../helpers/service-process.ts';

async function post(service: ServiceProcess, body: object, key?: string) {
  const headers = key === undefined ? {} : { 'idempotency-key': key };
  const response = await service.fetch('/execute', { method: 'POST', headers, body: JSON.stringify(body) });
  const answer = asRecord(await response.json());
  return {
    status: response.status,
    replayed: response.headers.get('idempotent-replayed'),
    location: response.headers.get('location'),
    answer,
    id: String(answer['job_id']),
  };
}

describe('an Idempotency-Key', () => {
  test('makes one job of many submits, also across a restart', async () => {
    const service = await startServiceProcess();
    const body = { prompt: 'say: hello', metadata: { a: 1, b: [2] } };
    const answers = await Promise.all(Array.from({ length: 50 }, () => post(service, body, 'k')));
    expect(answers.filter(({ status }) => status === 202)).toHaveLength(1);
    expect(new Set(answers.map(({ id }) => id)).size).toBe(1);
    expect(answers.every(({ status, replayed }) => replayed === (status === 200 ? 'true' : null))).toBe(true);
    const { id } = answers[0] ?? { id: '' };
    await service.finished(id);
    expect(await post(service, { ...body, agent: null, metadata: { b: [2], a: 1 } }, 'k')).toMatchObject({
      ...{ status: 200, id, location: `/jobs/${id}`, answer: { status: 'completed', queue_position: null } },
    });
    expect(await post(service, { ...body, prompt: 'say: other' }, 'k')).toMatchObject({
      ...{ status: 422, answer: { code: 'idempotency_conflict' } },
    });
    service.signal('SIGKILL');
    await service.exited();
    const again = await startServiceProcess({ dataDir: service.dataDir });
    expect(await post(again, body, 'k')).toMatchObject({ status: 200, replayed: 'true', id });
    expect(await post(again, { ...body, prompt: 'say: other' }, 'k')).toMatchObject({ status: 422 });
    expect(await post(again, body, 'other')).toMatchObject({ status: 202, replayed: null });
    expect(await post(again, body)).toMatchObject({ status: 202, replayed: null });
  });

  test('is 1 to 255 visible ASCII characters, and kept as long as its job', async () => {
    const service = await startServiceProcess({ env: { JOB_TTL_SECONDS: '1' } });
    const body = { prompt: 'say: hello' };
    for (const key of ['', 'with space', 'é', 'x'.repeat(256)]) {
      expect(await post(service, body, key)).toMatchObject({ status: 400, answer: { code: 'invalid_request' } });
    }
    const longest = '~'.repeat(255);
    const first = await post(service, body, longest);
    expect(first.status).toBe(202);
    await service.finished(first.id);
    const gone = async (): Promise<number> => (await service.fetch(`/jobs/${first.id}`)).status;
    while ((await gone()) !== 404);
    expect(await post(service, { prompt: 'say: other' }, longest)).toMatchObject({ status: 202, replayed: null });
  });

  test('a final job can be deleted, with its events and its key; one that has not ended cannot', async () => {
    const service = await startServiceProcess();
    const running = await post(service, { prompt: 'forever' });
    const refused = await service.fetch(`/jobs/${running.id}`, { method: 'DELETE' });
    expect([refused.status, asRecord(await refused.json())['code']]).toEqual([409, 'job_not_final']);
    await service.fetch(`/jobs/${running.id}/cancel`, { method: 'POST' });
    const { id } = await post(service, { prompt: 'say: hello' }, 'k');
    await service.finished(id);
    expect((await service.fetch(`/jobs/${id}`, { method: 'DELETE' })).status).toBe(204);
    for (const path of ['', '/events', '/log']) expect((await service.fetch(`/jobs/${id}${path}`)).status).toBe(404);
    expect((await service.fetch(`/jobs/${id}`, { method: 'DELETE' })).status).toBe(404);
    expect(await post(service, { prompt: 'say: hello' }, 'k')).toMatchObject({ status: 202 });
  });
});
