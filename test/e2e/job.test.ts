import { describe, expect, test } from 'vitest';
import { startServiceProcess } from '../helpers/service-process.ts';

describe('a job, end to end', () => {
  test('is accepted, run in a clone of its own, and its end is read', async () => {
    const service = await startServiceProcess();
    const id = await service.submit({ prompt: 'say: hello' });
    const job = await service.finished(id);
    expect(job).toMatchObject({ status: 'completed', reason: 'ok', result: 'hello', exit_code: 0 });
    service.signal('SIGTERM');
    expect(await service.exited()).toBe(0);
  });
});
