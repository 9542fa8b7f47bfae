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
  expect([ready.status, await ready.text()]).toEqual([503, expect.stringContaining('MIN_FREE_DISK_BYTES')]);
});
