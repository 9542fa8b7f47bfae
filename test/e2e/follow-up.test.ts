import { describe, expect, test } from 'vitest';
import { asRecord, type ServiceProcess, startServiceProcess } from '../helpers/service-process.ts';
import { waitFor } from '../helpers/wait.ts';

async function list(service: ServiceProcess, query: string): Promise<readonly unknown[]> {
  const answer = asRecord(await (await service.fetch(`/jobs?${query}`)).json());
  return (answer['jobs'] as readonly unknown[]).map((job) => asRecord(job)['job_id']);
}

describe('a job submitted with follow_up', () => {
  test('outlives its time, and a restart, until its end is acknowledged; a plain one does not', async () => {
    const env = { JOB_TTL_SECONDS: '1' };
    const first = await startServiceProcess({ env });
    const id = await first.submit({ prompt: 'sleep-ms: 100\nsay: hello', follow_up: true });
    const early = await first.fetch(`/jobs/${id}/ack`, { method: 'POST' });
    expect([early.status, asRecord(await early.json())['code']]).toEqual([409, 'job_not_final']);
    const plain = await first.submit({ prompt: 'say: hello' });
    expect(await first.finished(id)).toMatchObject({ followed_up: false });
    first.signal('SIGKILL');
    await first.exited();
    const service = await startServiceProcess({ env, dataDir: first.dataDir });
    const status = async (which: string) => (await service.fetch(`/jobs/${which}`)).status;
    await waitFor(
      () => status(plain),
      (code) => code === 404,
      { what: 'the plain job to be gone' },
    );
    await waitFor(
      () => list(service, ''),
      (ids) => ids.length === 1,
      { what: 'its eviction' },
    );
    expect(await list(service, 'followed_up=false')).toEqual([id]);
    const events = await (await service.fetch(`/jobs/${id}/events`)).text();
    expect(events).toContain('event: end');
    const acked = await service.fetch(`/jobs/${id}/ack`, { method: 'POST' });
    expect([acked.status, asRecord(await acked.json())]).toMatchObject([200, { job_id: id, followed_up: true }]);
    expect(await list(service, 'followed_up=false')).toEqual([]);
    await waitFor(
      () => status(id),
      (code) => code === 404,
      { what: 'the acknowledged job to be gone' },
    );
  });

  test('is kept no longer than FOLLOW_UP_TTL_SECONDS', async () => {
    const service = await startServiceProcess({ env: { JOB_TTL_SECONDS: '1', FOLLOW_UP_TTL_SECONDS: '2' } });
    const id = await service.submit({ prompt: 'say: hello', follow_up: true });
    await service.finished(id);
    const status = async () => (await service.fetch(`/jobs/${id}`)).status;
    expect(await status()).toBe(200);
    await waitFor(status, (code) => code === 404, { what: 'its end' });
  });
});

describe('the list of jobs', () => {
  test('is searched by agent, metadata and time', async () => {
    const service = await startServiceProcess();
    const a = await service.submit({ prompt: 'say: a', metadata: { team: 'red', 'odd key': 'x & y' } });
    const b = await service.submit({ prompt: 'say: b', agent: 'reviewer', metadata: { team: 'blue' } });
    expect(await list(service, 'metadata_key=team')).toEqual([b, a]);
    expect(await list(service, 'metadata_key=team&metadata_value=red')).toEqual([a]);
    expect(await list(service, `metadata_key=odd+key&metadata_value=${encodeURIComponent('x & y')}`)).toEqual([a]);
    expect(await list(service, 'agent=reviewer')).toEqual([b]);
    expect(await list(service, 'created_from=2020-01-01T00:00:00Z')).toEqual([b, a]);
    expect(await list(service, 'created_before=2120-01-01T00:00:00Z&caller=default&agent=reviewer')).toEqual([b]);
    expect(await list(service, 'created_before=2020-01-01T00:00:00%2B01:00')).toEqual([]);
    for (const wrong of ['created_from=yesterday', 'metadata_value=x', 'followed_up=maybe', 'agent=-x']) {
      expect((await service.fetch(`/jobs?${wrong}`)).status).toBe(400);
    }
  });
});
