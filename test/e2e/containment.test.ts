import { describe, expect, test } from 'vitest';
import { asRecord, startServiceProcess } from '../helpers/service-process.ts';

describe('containment', () => {
  test('is told by health, and by each job what became of its processes', async () => {
    const service = await startServiceProcess();
    expect(await (await service.fetch('/health')).json()).toMatchObject({
      containment: 'supervisor',
      clones: expect.stringMatching(/^(copy|reflink)$/),
    });
    const id = await service.submit({ prompt: `fork: 3 ${service.dataDir}/pids bare stubborn\nsay: hello` });
    const job = await service.finished(id);
    expect(job).toMatchObject({
      status: 'completed',
      containment: { level: 'supervisor', killed: 3, survivors: 0 },
    });
    expect(asRecord(job['containment'])['peak_rss_bytes']).toBeGreaterThan(10_000_000);
    expect(asRecord(job['containment'])['cpu_seconds']).toBeGreaterThan(0);
  });

  test('is null for a job that no agent ran for', async () => {
    const service = await startServiceProcess({ env: { CLAUDE_BIN: '/nonexistent/claude' }, unready: true });
    const job = await service.finished(await service.submit({ prompt: 'say: hello' }));
    expect(job).toMatchObject({ status: 'error', reason: 'spawn_error', containment: null });
  });
});

describe('an agent that prints nothing', () => {
  test('is ended as a timeout, with idle as the reason, where its job says so', async () => {
    const service = await startServiceProcess();
    const id = await service.submit({ prompt: 'forever', idle_timeout_seconds: 1 });
    expect(await service.finished(id)).toMatchObject({ status: 'timeout', reason: 'idle' });
  });

  test('is ended where the service says so, unless its job does not want it', async () => {
    const service = await startServiceProcess({ env: { IDLE_TIMEOUT_SECONDS: '1' } });
    const ended = await service.submit({ prompt: 'forever' });
    const left = await service.submit({ prompt: 'sleep-ms: 2500\nsay: late', idle_timeout_seconds: 0 });
    expect(await service.finished(ended)).toMatchObject({ status: 'timeout', reason: 'idle' });
    expect(await service.finished(left)).toMatchObject({ status: 'completed', result: 'late' });
  });
});
