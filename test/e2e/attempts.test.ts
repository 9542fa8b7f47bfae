import { appendFile, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { type ServiceProcess, startServiceProcess, temporaryDirectory } from '../helpers/service-process.ts';
import { waitFor } from '../helpers/wait.ts';
import { createGate } from './steering.ts';

/** Agents that write down each of their starts. */
async function createLedger() {
  const file = join(await temporaryDirectory(), 'ledger');
  await appendFile(file, '');
  const names = async (): Promise<readonly string[]> => (await readFile(file, 'utf8')).split('\n').slice(0, -1);
  return {
    line: (name: string) => `bash: echo ${name} >> ${file}`,
    names,
    has: (count: number) => waitFor(names, (all) => all.length >= count, { what: `${count} starts` }),
  };
}

async function events(service: ServiceProcess, id: string, after = 0): Promise<string> {
  return await (await service.fetch(`/jobs/${id}/events?after=${after}`)).text();
}

function storyOf(text: string): readonly string[] {
  const status = [...text.matchAll(/^event: (status|end)\ndata: .*?"status":"(\w+)"/gm)];
  return status.map(([, , word]) => word ?? '');
}

test('a job that may be started twice is run again after a kill, at its place, with the events of both runs', async () => {
  const [ledger, gate] = [await createLedger(), await createGate()];
  const env = { MAX_CONCURRENCY: '1' };
  const service = await startServiceProcess({ env });
  const prompt = `${ledger.line('twice')}\nsay: begun\n${gate.line}\nsay: done`;
  const twice = await service.submit({ prompt, max_attempts: 2 });
  const next = await service.submit({ prompt: ledger.line('next') });
  await ledger.has(1);
  service.signal('SIGKILL');
  await service.exited();

  const second = await startServiceProcess({ env, dataDir: service.dataDir });
  await ledger.has(2);
  expect(await second.read(`/jobs/${twice}`)).toMatchObject({ status: 'running', attempt: 2, max_attempts: 2 });
  const live = events(second, twice);
  await gate.open();
  const job = await second.finished(twice);
  expect(job).toMatchObject({ status: 'completed', attempt: 2, changes: { problem: null } });
  await second.finished(next);
  expect(await ledger.names()).toEqual(['twice', 'twice', 'next']);

  const text = await events(second, twice);
  expect(storyOf(text)).toEqual(['queued', 'running', 'queued', 'running', 'completed']);
  const ids = [...text.matchAll(/^id: (\d+)$/gm)].map(([, id]) => Number(id));
  expect(ids).toEqual(ids.map((_, n) => n + 1));
  expect((await live).replaceAll(/^event: delta\n.*\n\n|^:.*\n\n/gm, '')).toBe(text);
  for (const after of ids) {
    const rest = after === ids.length ? '' : text.slice(text.indexOf(`id: ${after + 1}\n`));
    expect(await events(second, twice, after)).toBe(rest);
  }
  await second.fetch(`/jobs/${twice}`, { method: 'DELETE' });
  expect((await second.fetch(`/jobs/${twice}/events`)).status).toBe(404);
});

test('attempts end: the last one that is lost is, and one that was cancelled is not run again', async () => {
  const ledger = await createLedger();
  let service = await startServiceProcess();
  const lost = await service.submit({ prompt: `${ledger.line('lost')}\nforever`, max_attempts: 2 });
  for (const count of [1, 2]) {
    await ledger.has(count);
    service.signal('SIGKILL');
    await service.exited();
    service = await startServiceProcess({ dataDir: service.dataDir });
  }
  expect(await service.read(`/jobs/${lost}`)).toMatchObject({ status: 'lost', reason: 'lost', attempt: 2 });
  expect(storyOf(await events(service, lost))).toEqual(['queued', 'running', 'queued', 'running', 'lost']);
  const stubborn = `${ledger.line('stubborn')}\nignore-int\nignore-term\nforever`;
  const cancelled = await service.submit({ prompt: stubborn, max_attempts: 5 });
  await ledger.has(3);
  await service.fetch(`/jobs/${cancelled}/cancel`, { method: 'POST' });
  service.signal('SIGKILL');
  await service.exited();
  service = await startServiceProcess({ dataDir: service.dataDir });
  expect(await service.read(`/jobs/${cancelled}`)).toMatchObject({ status: 'cancelled', reason: 'cancelled' });
  expect(await ledger.names()).toEqual(['lost', 'lost', 'stubborn']);
});

test('a shutdown that ends a run queues its job for the next start, and lets nobody wait', async () => {
  const [ledger, gate] = [await createLedger(), await createGate()];
  const service = await startServiceProcess({ env: { DRAIN_SECONDS: '0', KILL_GRACE_SECONDS: '1' } });
  const prompt = `${ledger.line('again')}\n${gate.line}\nsay: done`;
  const id = await service.submit({ prompt, max_attempts: 2 });
  await ledger.has(1);
  const waiting = service.read(`/jobs/${id}?wait=60`);
  service.signal('SIGTERM');
  expect(await service.exited()).toBe(0);
  expect(await waiting).toMatchObject({ status: 'queued', attempt: 1 });
  await gate.open();
  const next = await startServiceProcess({ dataDir: service.dataDir });
  expect(await next.finished(id)).toMatchObject({ status: 'completed', result: 'done', attempt: 2 });
});
