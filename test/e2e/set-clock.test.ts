import { writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { startServiceProcess, temporaryDirectory } from '../helpers/service-process.ts';
import { waitFor } from '../helpers/wait.ts';
import { createGate } from './steering.ts';

const root = join(import.meta.dirname, '..', '..');
const hourMs = 3_600_000;

/** A service whose clock can be set. */
async function startWithClock(env: Readonly<Record<string, string>>) {
  const file = join(await temporaryDirectory(), 'clock');
  await writeFile(file, '0');
  const shift = join(import.meta.dirname, '..', 'fixtures', 'shifted-clock.mjs');
  const service = await startServiceProcess({
    command: [process.execPath, '--import', shift, join(root, 'src', 'main.ts')],
    env: { ...env, CLOCK_SHIFT_FILE: file },
  });
  return { service, set: (shiftMs: number) => writeFile(file, String(shiftMs)) };
}

/** Answers the first post with 500. */
async function startReceiver() {
  const ids: unknown[] = [];
  const server = createServer((request, response) => {
    request.resume().on('end', () => {
      response.writeHead(ids.length === 0 ? 500 : 204).end();
      ids.push(request.headers['webhook-id']);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return { ids, host: `127.0.0.1:${(server.address() as AddressInfo).port}` };
}

test('a clock that is set forward by hours removes nothing early and ends no run', async () => {
  const { service, set } = await startWithClock({ JOB_TTL_SECONDS: '3600', FOLLOW_UP_TTL_SECONDS: '3600' });
  const gate = await createGate();
  const done = await service.submit({ prompt: 'say: done' });
  await service.finished(done);
  const running = await service.submit({ prompt: `${gate.line}\nsay: through`, timeout_seconds: 600 });
  const limited = await service.submit({ prompt: 'forever', timeout_seconds: 4 });
  await set(5 * hourMs);
  const later = await service.submit({ prompt: 'say: later' });
  expect(Date.parse(String((await service.finished(later))['finished_at']))).toBeGreaterThan(Date.now() + 4 * hourMs);
  expect(await service.read(`/jobs/${done}`)).toMatchObject({ status: 'completed' });
  expect(await service.read(`/jobs/${running}`)).toMatchObject({ status: 'running' });
  await gate.open();
  expect(await service.finished(running)).toMatchObject({ status: 'completed', result: 'through' });
  expect(await service.finished(limited)).toMatchObject({ status: 'timeout' });
  expect(await service.read(`/jobs/${done}`)).toMatchObject({ status: 'completed' });
  expect((await service.fetch('/readyz')).status).toBe(200);
});

test('a clock that is set back by hours keeps no webhook waiting, ends runs at their limit, and readiness is looked at anew', async () => {
  const { ids, host } = await startReceiver();
  const secret = `whsec_${Buffer.alloc(24, 7).toString('base64')}`;
  const { service, set } = await startWithClock({ WEBHOOK_SECRET: secret, WEBHOOK_ALLOWED_HOSTS: host });
  const job = await service.submit({ prompt: 'say: hello', webhook: { url: `http://${host}/` } });
  await service.finished(job);
  await waitFor(
    () => ids.length,
    (count) => count === 1,
    { what: 'the first try' },
  );
  const limited = await service.submit({ prompt: 'forever', timeout_seconds: 3 });
  await set(-5 * hourMs);
  expect(await service.finished(limited)).toMatchObject({ status: 'timeout' });
  await waitFor(
    () => ids.length,
    (count) => count === 2,
    { what: 'the second try', timeoutMs: 30_000 },
  );
  expect(ids[1]).toBe(ids[0]);
  expect((await service.fetch('/readyz')).status).toBe(200);
  expect(await service.finished(await service.submit({ prompt: 'say: after' }))).toMatchObject({ status: 'completed' });
});
