import { describe, expect, test } from 'vitest';
import { startServiceProcess } from '../helpers/service-process.ts';
import { createGate, untilActive } from './steering.ts';

type Job = Readonly<Record<string, unknown>>;

describe('GET /jobs', () => {
  test('pages through all jobs, newest first, whatever is submitted meanwhile', async () => {
    const service = await startServiceProcess();
    const ids: string[] = [];
    for (let n = 0; n < 5; n += 1) ids.push(await service.submit({ prompt: `say: ${n}`, metadata: { n } }));
    for (const id of ids) await service.finished(id);
    const first = pageIn(await service.read('/jobs?limit=2'));
    const later = await service.submit({ prompt: 'say: later' });
    const second = pageIn(await service.read(`/jobs?limit=2&cursor=${first.next ?? ''}`));
    const third = pageIn(await service.read(`/jobs?limit=2&cursor=${second.next ?? ''}`));
    expect([...first.ids, ...second.ids, ...third.ids]).toEqual(ids.toReversed());
    expect(third.next).toBeNull();
    await service.finished(later);
    expect(pageIn(await service.read('/jobs')).ids).toEqual([later, ...ids.toReversed()]);
    expect(first.jobs[0]).toMatchObject({ status: 'completed', prompt: 'say: 4', metadata: { n: 4 } });
    expect(first.jobs[0]).not.toHaveProperty('output');
  });

  test('filters by status, and refuses what it does not know', async () => {
    const gate = await createGate();
    const service = await startServiceProcess({ env: { MAX_CONCURRENCY: '1' } });
    const ids = [await service.submit({ prompt: gate.line }), await service.submit({ prompt: 'exit: 3' })] as const;
    await untilActive(service, 1);
    expect(pageIn(await service.read('/jobs?status=running')).ids).toEqual([ids[0]]);
    expect(pageIn(await service.read('/jobs?status=queued')).ids).toEqual([ids[1]]);
    await gate.open();
    await service.finished(ids[1]);
    expect(pageIn(await service.read('/jobs?status=failed')).ids).toEqual([ids[1]]);
    const bad = ['cursor=nonsense', 'status=done', 'limit=0', 'limit=201', 'limit=x'];
    const statuses = await Promise.all(bad.map(async (query) => (await service.fetch(`/jobs?${query}`)).status));
    expect(statuses).toEqual(bad.map(() => 400));
  });
});

function pageIn(body: Job): {
  readonly jobs: readonly Job[];
  readonly ids: readonly unknown[];
  readonly next: string | null;
} {
  const next = body['next_cursor'];
  const jobs: readonly Job[] = Array.isArray(body['jobs']) ? body['jobs'] : [];
  return { jobs, ids: jobs.map((job) => job['job_id']), next: typeof next === 'string' ? next : null };
}
