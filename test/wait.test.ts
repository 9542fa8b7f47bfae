import { expect, test } from 'vitest';
import { waitFor } from './helpers/wait.ts';

test('a state that comes later is waited for and returned', async () => {
  let reads = 0;
  const value = await waitFor(
    () => (reads += 1),
    (n) => n >= 3,
  );
  expect(value).toBe(3);
});

test('a state that never comes is reported with its name and the last value', async () => {
  const wait = waitFor(
    () => Promise.resolve({ status: 'queued' }),
    ({ status }) => status === 'running',
    { timeoutMs: 30, what: 'the job to run' },
  );
  await expect(wait).rejects.toThrow("waited 30 ms for the job to run; last seen: { status: 'queued' }");
});

test('an error of the reader passes through', async () => {
  const read = () => Promise.reject(new Error('no such file'));
  await expect(waitFor(read, () => true)).rejects.toThrow('no such file');
});
