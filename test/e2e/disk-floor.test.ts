import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { asRecord, startServiceProcess } from '../helpers/service-process.ts';

test('with less free space than the floor no job is admitted, and readiness says why', async () => {
  const service = await startServiceProcess({ env: { MIN_FREE_DISK_BYTES: '900000000000000' }, unready: true });
  const refused = await service.fetch('/execute', { method: 'POST', body: JSON.stringify({ prompt: 'say: x' }) });
  expect(refused.status).toBe(503);
  expect(refused.headers.get('retry-after')).toBe('5');
  expect(asRecord(await refused.json())).toMatchObject({
    code: 'unavailable',
    detail: expect.stringContaining('disk'),
  });
  const ready = await service.fetch('/readyz');
  // Nothing is made ready for jobs that are not admitted.
  expect(await readdir(join(service.dataDir, 'jobs', '.pool')).catch(() => [])).toEqual([]);
  expect(await (await service.fetch('/metrics')).text()).toContain('\nagent_workspace_pool_ready 0\n');
  expect([ready.status, await ready.text()]).toEqual([503, expect.stringContaining('MIN_FREE_DISK_BYTES')]);
});
