import { existsSync } from 'node:fs';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import {
  asRecord,
  isAlive,
  type ServiceProcess,
  startServiceProcess,
  temporaryDirectory,
} from '../helpers/service-process.ts';
import { waitFor } from '../helpers/wait.ts';

async function start(dataDir?: string, policy = 'adopt'): Promise<ServiceProcess> {
  const env = { RESTART_POLICY: policy, KILL_GRACE_SECONDS: '2', DRAIN_SECONDS: '0', MAX_CONCURRENCY: '12' };
  return await startServiceProcess({ env, ...(dataDir === undefined ? {} : { dataDir }) });
}

const runFile = (service: ServiceProcess, id: string, name: string): string => join(service.dataDir, 'runs', id, name);

async function die(service: ServiceProcess): Promise<void> {
  service.signal('SIGKILL');
  await service.exited();
}

/** Submits and waits until the agent runs: `script` follows on a line that says so. */
async function begin(service: ServiceProcess, script: string, body: object = {}): Promise<string> {
  const id = await service.submit({ prompt: `write: begun yes\n${script}`, ...body });
  await waitFor(() => existsSync(join(service.dataDir, 'jobs', id, 'begun')), Boolean, { what: 'the agent to begin' });
  return id;
}

async function statusOf(service: ServiceProcess, id: string): Promise<unknown> {
  return asRecord(await (await service.fetch(`/jobs/${id}`)).json())['status'];
}

/** A script that goes on when the test makes this file. */
const until = (gate: string): string => `bash: while [ ! -e ${gate} ]; do sleep 0.05; done`;

async function open(gate: string): Promise<void> {
  await writeFile(gate, '');
}

async function expectNoWorkspace(service: ServiceProcess): Promise<void> {
  const names = async () => (await readdir(join(service.dataDir, 'jobs'))).filter((name) => !name.startsWith('.'));
  expect(await waitFor(names, (found) => found.length === 0)).toEqual([]);
}

describe('a job whose service was killed, with RESTART_POLICY=adopt,', () => {
  test('goes on, and is finished by the next service as if nothing had happened', async () => {
    const gate = join(await temporaryDirectory(), 'gate');
    const first = await start();
    const id = await begin(first, `say: one\n${until(gate)}\nwrite: begun twice\nsay: two`);
    await die(first);
    const second = await start(first.dataDir);
    expect(await statusOf(second, id)).toBe('running');
    expect(existsSync(join(second.dataDir, 'jobs', id, 'begun'))).toBe(true);
    await open(gate);
    expect(await second.finished(id)).toMatchObject({
      ...{ status: 'completed', reason: 'ok', exit_code: 0, result: 'two' },
      containment: { level: 'supervisor', survivors: 0 },
    });
    const log = await readFile(runFile(second, id, 'stdout.log'), 'utf8');
    expect(log.match(/"type":"result"/g)).toHaveLength(1);
    await expectNoWorkspace(second);
  });

  test('may end while there is none: the next one reads how', async () => {
    const gate = join(await temporaryDirectory(), 'gate');
    const first = await start();
    const id = await begin(first, `${until(gate)}\nsay: alone`);
    await die(first);
    await open(gate);
    await waitFor(() => existsSync(runFile(first, id, 'exit.json')), Boolean);
    const second = await start(first.dataDir);
    expect(await second.finished(id)).toMatchObject({ status: 'completed', result: 'alone' });
    await expectNoWorkspace(second);
  });

  test('is ended at its timeout also while there is none', async () => {
    const first = await start();
    const id = await begin(first, 'forever', { timeout_seconds: 2 });
    await die(first);
    await waitFor(() => existsSync(runFile(first, id, 'exit.json')), Boolean);
    const second = await start(first.dataDir);
    expect(await second.finished(id)).toMatchObject({ status: 'timeout', reason: 'timeout' });
  });

  test('can be cancelled, with all that it started', async () => {
    const first = await start();
    const pids = join(await temporaryDirectory(), 'pids');
    const id = await begin(first, `fork: 2 ${pids} bare stubborn\nforever`);
    await waitFor(
      () => readFile(pids, 'utf8').catch(() => ''),
      (text) => text.split('\n').length === 3,
    );
    await die(first);
    const second = await start(first.dataDir);
    await second.fetch(`/jobs/${id}/cancel`, { method: 'POST' });
    expect(await second.finished(id)).toMatchObject({
      ...{ status: 'cancelled', reason: 'cancelled' },
      containment: { killed: 2, survivors: 0 },
    });
    for (const pid of (await readFile(pids, 'utf8')).trim().split('\n')) expect(await isAlive(Number(pid))).toBe(false);
    await expectNoWorkspace(second);
  });

  test('is lost if its supervisor was killed, too, and nothing of it is left', async () => {
    const first = await start();
    const pidFile = join(await temporaryDirectory(), 'pid');
    const id = await begin(first, `forever\npid-file: ${pidFile}`);
    const record = asRecord(JSON.parse(await readFile(runFile(first, id, 'supervisor.json'), 'utf8')));
    await die(first);
    // Stopped first, and the keeper killed first: the kernel makes a stopped one go on whose guard ends.
    for (const signal of ['SIGSTOP', 'SIGKILL'] as const) {
      for (const role of ['keeper', 'guard']) process.kill(Number(record[role]), signal);
    }
    const second = await start(first.dataDir);
    expect(await second.finished(id)).toMatchObject({ status: 'lost' });
    expect(await isAlive(Number(await readFile(pidFile, 'utf8')))).toBe(false);
    await expectNoWorkspace(second);
  });

  test('goes on also when the service was told to stop, and its time to drain is over', async () => {
    const gate = join(await temporaryDirectory(), 'gate');
    const first = await start();
    const id = await begin(first, `${until(gate)}\nsay: later`);
    first.signal('SIGTERM');
    expect(await first.exited()).toBe(0);
    const second = await start(first.dataDir);
    expect(await statusOf(second, id)).toBe('running');
    await open(gate);
    expect(await second.finished(id)).toMatchObject({ status: 'completed', result: 'later' });
  });

  test('is one of ten that are adopted together', async () => {
    const gate = join(await temporaryDirectory(), 'gate');
    const first = await start();
    const ids = await Promise.all(Array.from({ length: 10 }, (_, i) => begin(first, `${until(gate)}\nsay: ${i}`)));
    await die(first);
    const second = await start(first.dataDir);
    await open(gate);
    const jobs = await Promise.all(ids.map((id) => second.finished(id)));
    expect(jobs.map(({ result }) => result)).toEqual(ids.map((_, i) => String(i)));
  });
});

test('a service that is set to kill does not adopt what it finds', async () => {
  const first = await start(undefined, 'kill');
  const id = await begin(first, 'forever');
  await die(first);
  const second = await start(first.dataDir, 'kill');
  expect(await second.finished(id)).toMatchObject({ status: 'lost' });
});
