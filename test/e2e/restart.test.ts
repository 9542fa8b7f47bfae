import { once } from 'node:events';
import { statSync } from 'node:fs';
import { readdir, readFile, truncate, writeFile } from 'node:fs/promises';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import {
  isAlive,
  runServiceToItsEnd,
  type ServiceProcess,
  startServiceProcess,
  temporaryDirectory,
  token,
} from '../helpers/service-process.ts';
import { waitFor } from '../helpers/wait.ts';
import { chat, createGate, track, untilActive, workspacesOf } from './steering.ts';

/** With nothing running the exit takes about a second; this is what a loaded machine may make of it. */
const promptExitMs = 5_000;
const exitConfig = 78;

describe('a service that was killed', () => {
  test('comes back with every job: running ones lost, queued ones run in order, final ones as they were', async () => {
    const [agent, gate] = [await track(), await createGate()];
    const order = join(await temporaryDirectory(), 'order');
    const env = { MAX_CONCURRENCY: '1' };
    const service = await startServiceProcess({ env });
    const ended = await service.submit({ prompt: 'say: kept', metadata: { is: 'kept' } });
    const final = await service.finished(ended);
    const running = await service.submit({ prompt: `${agent.line}\n${gate.line}` });
    const names = ['a', 'b', 'c', 'd'];
    const queued: string[] = [];
    for (const name of names) queued.push(await service.submit({ prompt: `bash: echo ${name} >> ${order}` }));
    await agent.pid();
    service.signal('SIGKILL');
    expect(await service.exited()).toBe(-1);
    await gate.open();

    const next = await startServiceProcess({ env, dataDir: service.dataDir });
    expect(await next.read(`/jobs/${ended}`)).toEqual(final);
    const lost = await next.read(`/jobs/${running}`);
    expect(lost).toMatchObject({ status: 'lost', reason: 'lost', error: expect.any(String), exit_code: null });
    expect(lost['finished_at']).not.toBeNull();
    for (const id of queued) expect(await next.finished(id)).toMatchObject({ status: 'completed' });
    expect((await readFile(order, 'utf8')).trim().split('\n')).toEqual(names);
    expect(await workspacesOf(next)).toEqual([]);
    expect(await next.read('/health')).toMatchObject({ active: 0, queued: 0 });
  });

  test('does not run a queued chat whose caller is gone', async () => {
    const [agent, chatting] = [await track(), await track()];
    const env = { MAX_CONCURRENCY: '1' };
    const service = await startServiceProcess({ env });
    await service.submit({ prompt: `${agent.line}\nforever` });
    await agent.pid();
    const answer = service.post('/v1/chat/completions', chat(chatting.line)).catch(() => 'gone');
    await waitFor(
      async () => (await service.read('/health'))['queued'],
      (queued) => queued === 1,
    );
    service.signal('SIGKILL');
    expect(await answer).toBe('gone');
    const next = await startServiceProcess({ env, dataDir: service.dataDir });
    expect(await next.read('/jobs?limit=1')).toMatchObject({ jobs: [{ status: 'cancelled', reason: 'client_gone' }] });
    expect(await next.finished(await next.submit({ prompt: 'say: next' }))).toMatchObject({ result: 'next' });
    expect(chatting.hasStarted()).toBe(false);
  });
});

describe('SIGTERM', () => {
  test('lets the running job end, refuses new ones, and leaves queued ones to the next start', async () => {
    const [agent, gate] = [await track(), await createGate()];
    const env = { MAX_CONCURRENCY: '1' };
    const service = await startServiceProcess({ env });
    const running = await service.submit({ prompt: `${agent.line}\n${gate.line}\nsay: drained` });
    const queued = await service.submit({ prompt: 'say: after the restart' });
    await agent.pid();
    service.signal('SIGTERM');
    await untilDraining(service);
    for (const response of [
      await service.post('/execute', { prompt: 'say: too late' }),
      await service.post('/v1/chat/completions', chat('say: too late')),
      await service.fetch('/readyz'),
    ]) {
      expect(response.status).toBe(503);
    }
    expect((await service.fetch('/livez')).status).toBe(200);
    expect(await service.read(`/jobs/${queued}`)).toMatchObject({ status: 'queued' });
    await gate.open();
    expect(await service.exited()).toBe(0);

    const next = await startServiceProcess({ env, dataDir: service.dataDir });
    expect(await next.read(`/jobs/${running}`)).toMatchObject({ status: 'completed', result: 'drained' });
    expect(await next.finished(queued)).toMatchObject({ status: 'completed', result: 'after the restart' });
    expect(await next.read('/jobs')).toMatchObject({ jobs: [{ job_id: queued }, { job_id: running }] });
  });

  test('ends what still runs after DRAIN_SECONDS, and says so', async () => {
    const agent = await track();
    const service = await startServiceProcess({ env: { DRAIN_SECONDS: '1', KILL_GRACE_SECONDS: '1' } });
    const id = await service.submit({ prompt: `${agent.line}\nignore-int\nignore-term\nforever` });
    const pid = await agent.pid();
    service.signal('SIGTERM');
    expect(await service.exited()).toBe(0);
    expect(await isAlive(pid)).toBe(false);
    const next = await startServiceProcess({ dataDir: service.dataDir });
    expect(await next.read(`/jobs/${id}`)).toMatchObject({ status: 'lost', reason: 'shutdown' });
  });

  test('is not held by a connection that never speaks, nor by one that is idle', async () => {
    const service = await startServiceProcess();
    await openConnection(service);
    const idle = await openConnection(service);
    idle.write('GET /health HTTP/1.1\r\nhost: service\r\n\r\n');
    const [head] = await once(idle, 'data');
    expect(String(head)).toContain('200 OK');
    const half = await openConnection(service);
    half.write('POST /execute HTTP/1.1\r\nhost: service\r\ncontent-len');
    const started = performance.now();
    service.signal('SIGTERM');
    expect(await service.exited()).toBe(0);
    expect(performance.now() - started).toBeLessThan(promptExitMs);
  });

  test('sent twice ends the service and its agents at once', async () => {
    const agent = await track();
    const service = await startServiceProcess({ env: { KILL_GRACE_SECONDS: '600' } });
    const id = await service.submit({ prompt: `${agent.line}\nignore-int\nignore-term\nforever` });
    const pid = await agent.pid();
    service.signal('SIGTERM');
    await untilDraining(service);
    const started = performance.now();
    service.signal('SIGTERM');
    await service.exited();
    expect(performance.now() - started).toBeLessThan(promptExitMs);
    expect(await isAlive(pid)).toBe(false);
    const next = await startServiceProcess({ dataDir: service.dataDir });
    expect(await next.read(`/jobs/${id}`)).toMatchObject({ status: 'lost', reason: 'shutdown' });
  });

  test('to npm start ends npm, the service and its agents', async () => {
    const agent = await track();
    const env = { npm_config_update_notifier: 'false', DRAIN_SECONDS: '0', KILL_GRACE_SECONDS: '1' };
    const service = await startServiceProcess({ command: ['npm', 'start'], env });
    await service.submit({ prompt: `${agent.line}\nforever` });
    const family = await upTo(service.pid, await agent.pid());
    // npm, the service, the agent, and whatever stands between them.
    expect(family.length).toBeGreaterThanOrEqual(3);
    service.signal('SIGTERM');
    await service.exited();
    await waitFor(
      async () => await Promise.all(family.map(isAlive)),
      (alive) => !alive.includes(true),
      { what: 'all of them to be gone' },
    );
    expect(service.output()).toContain('"msg":"stopped"');
  });
});

describe('a start', () => {
  test.each([
    ['PORT', 'http', ['"http"', '65535']],
    ['MAX_CONCURRENCY', '0', ['"0"', '1000']],
    ['LOG_LEVEL', 'loud', ['"loud"', 'debug']],
    ['KILL_GRACE_SECONDS', '5s', ['"5s"', '600']],
    ['DATA_DIR', '/dev/null/data', ['/dev/null/data', 'a directory']],
    ['API_BEARER_TOKEN_FILE', '/nonexistent/token', ['/nonexistent/token']],
  ])('with a bad %s exits with 78 and names it, what it holds and what is allowed', async (name, value, words) => {
    const { code, output } = await runServiceToItsEnd({ env: { [name]: value } });
    expect(code).toBe(exitConfig);
    for (const word of [name, ...words]) expect(output).toContain(word);
  });

  test('with a bad token does not print it', async () => {
    const { code, output } = await runServiceToItsEnd({ env: { API_BEARER_TOKEN: 'my secret token' } });
    expect(code).toBe(exitConfig);
    expect(output).toContain('API_BEARER_TOKEN');
    expect(output).not.toContain('secret');
  });

  test('without a token makes one, prints it once and keeps only its hash', async () => {
    const env = { API_BEARER_TOKEN: undefined };
    const service = await startServiceProcess({ env });
    await waitFor(service.output, (text) => text.includes('/jobs\n'), { what: 'the token to be printed' });
    const made = /^ {2}(ast_[\w-]{43})$/m.exec(service.output())?.[1] ?? '';
    expect(await statusWith(service, made)).toBe(200);
    expect(await statusWith(service, token)).toBe(401);
    service.signal('SIGTERM');
    expect(await service.exited()).toBe(0);

    const next = await startServiceProcess({ env, dataDir: service.dataDir });
    expect(await statusWith(next, made)).toBe(200);
    expect(next.output()).not.toContain('ast_');
    // Files come and go as long as it runs.
    next.signal('SIGTERM');
    expect(await next.exited()).toBe(0);
    const files = await filesIn(service.dataDir);
    expect(files.length).toBeGreaterThan(1);
    const contents = await Promise.all(files.map((file) => readFile(file)));
    expect(files.filter((_, index) => contents[index]?.includes(made) === true)).toEqual([]);
  });

  test('on the data of a service that runs is refused, and that one goes on', async () => {
    const service = await startServiceProcess();
    const { code, output } = await runServiceToItsEnd({ dataDir: service.dataDir });
    expect(code).toBe(1);
    expect(output).toContain('another service is using it');
    expect(output).toMatch(/^The service could not start: .*jobs\.db/m);
    const job = await service.finished(await service.submit({ prompt: 'say: still here' }));
    expect(job).toMatchObject({ status: 'completed', result: 'still here' });
  });

  test.each([
    ['garbage', (file: string) => writeFile(file, 'no database at all, but long enough for a header\n'.repeat(99))],
    ['the half of a database', (file: string) => truncate(file, Math.floor(statSync(file).size / 2))],
  ])('on a database file that holds %s is refused, and says what to do', async (_what, damage) => {
    const service = await startServiceProcess();
    await service.finished(await service.submit({ prompt: 'say: hello' }));
    service.signal('SIGTERM');
    await service.exited();
    await damage(join(service.dataDir, 'jobs.db'));
    const { code, output } = await runServiceToItsEnd({ dataDir: service.dataDir });
    expect(code).toBe(1);
    expect(output).toMatch(/^The service could not start: .*jobs\.db.* [Mm]ove it away/m);
  });

  test('without a claude CLI serves, is not ready, and says what to do', async () => {
    const service = await startServiceProcess({ env: { CLAUDE_BIN: '/nonexistent/claude' }, unready: true });
    const ready = await service.fetch('/readyz');
    expect(ready.status).toBe(503);
    expect((await service.fetch('/livez')).status).toBe(200);
    const job = await service.finished(await service.submit({ prompt: 'say: x' }));
    expect(job).toMatchObject({ status: 'error', reason: 'spawn_error', error: expect.stringContaining('CLAUDE_BIN') });
    await untilActive(service, 0);
  });
});

async function untilDraining(service: ServiceProcess): Promise<void> {
  await waitFor(
    async () => (await service.read('/health'))['draining'],
    (draining) => draining === true,
    { what: 'the service to drain' },
  );
}

async function openConnection({ url }: ServiceProcess): Promise<Socket> {
  const socket = connect(Number(new URL(url).port), '127.0.0.1');
  // How it ends is not ours to judge: the service may reset it.
  socket.on('error', () => undefined);
  onTestFinished(() => void socket.destroy());
  await once(socket, 'connect');
  return socket;
}

/** The process, its parent, and so on up to the ancestor. */
async function upTo(ancestor: number, pid: number): Promise<readonly number[]> {
  if (pid === 0) throw new Error(`${ancestor} is no ancestor`);
  return pid === ancestor ? [pid] : [pid, ...(await upTo(ancestor, await parentOf(pid)))];
}

async function parentOf(pid: number): Promise<number> {
  const stat = await readFile(`/proc/${pid}/stat`, 'latin1');
  return Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]);
}

async function statusWith({ url }: ServiceProcess, bearer: string): Promise<number> {
  return (await fetch(`${url}/jobs`, { headers: { authorization: `Bearer ${bearer}` } })).status;
}

async function filesIn(directory: string): Promise<readonly string[]> {
  const entries = await readdir(directory, { recursive: true, withFileTypes: true });
  return entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
}
