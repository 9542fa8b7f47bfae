import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { isAlive, type ServiceProcess, startServiceProcess, temporaryDirectory } from '../helpers/service-process.ts';
import { waitFor } from '../helpers/wait.ts';
import {
  chat,
  createGate,
  createMeeting,
  dumpIn,
  track,
  untilActive,
  untilTrashIsEmpty,
  workspacesOf,
} from './steering.ts';

type Job = Readonly<Record<string, unknown>>;

const onePlace = { MAX_CONCURRENCY: '1' };

describe('jobs that come together', () => {
  test('run at the same time', async () => {
    const prompts = await createMeeting(['first', 'second']);
    const service = await startServiceProcess();
    const ids = await Promise.all(prompts.map((prompt) => service.submit({ prompt, timeout_seconds: 40 })));
    const jobs = await Promise.all(ids.map(service.finished));
    expect(jobs.map(({ result }) => result)).toEqual(['first has met all', 'second has met all']);
  });

  test('run at the same time when they are chats, streamed or not', async () => {
    const prompts = await createMeeting(['first', 'second']);
    const service = await startServiceProcess();
    const [whole, streamed] = await Promise.all(
      prompts.map(async (prompt, index) => {
        const response = await service.post('/v1/chat/completions', chat(prompt, { stream: index === 1 }));
        return { status: response.status, text: await response.text() };
      }),
    );
    expect(whole?.status).toBe(200);
    expect(whole?.text).toContain('first has met all');
    expect(streamed?.status).toBe(200);
    expect(contentOf(streamed?.text ?? '')).toBe('second has met all');
  });

  test('are all accepted, never refused with 409, when there is one place', async () => {
    const service = await startServiceProcess({ env: onePlace });
    const responses = await Promise.all(
      Array.from({ length: 20 }, () => service.post('/execute', { prompt: 'say: x' })),
    );
    expect(responses.map(({ status }) => status)).toEqual(responses.map(() => 202));
    const ids = await Promise.all(responses.map(jobIdOf));
    expect(new Set(ids).size).toBe(20);
    const jobs = await Promise.all(ids.map(service.finished));
    expect(jobs.map(({ status }) => status)).toEqual(jobs.map(() => 'completed'));
  });

  test('wait for the only place', async () => {
    const [gate, second] = [await createGate(), await track()];
    const service = await startServiceProcess({ env: onePlace });
    const ids = [await service.submit({ prompt: gate.line }), await service.submit({ prompt: second.line })] as const;
    await untilActive(service, 1);
    expect(await service.read(`/jobs/${ids[1]}`)).toMatchObject({
      status: 'queued',
      queue_position: 1,
      started_at: null,
    });
    expect(second.hasStarted()).toBe(false);
    await gate.open();
    const [before, after] = [await service.finished(ids[0]), await service.finished(ids[1])];
    expect(after).toMatchObject({ status: 'completed', queue_position: null });
    expect(timeOf(after, 'started_at')).toBeGreaterThanOrEqual(timeOf(before, 'finished_at'));
  });

  test('start in the order in which they came', async () => {
    const gate = await createGate();
    const order = join(await temporaryDirectory(), 'order');
    const service = await startServiceProcess({ env: onePlace });
    const first = await service.submit({ prompt: gate.line });
    const names = ['a', 'b', 'c', 'd', 'e', 'f'];
    const ids: string[] = [];
    for (const name of names) ids.push(await service.submit({ prompt: `bash: echo ${name} >> ${order}` }));
    const positions = await Promise.all(ids.map((id) => service.read(`/jobs/${id}`)));
    expect(positions.map((job) => job['queue_position'])).toEqual([1, 2, 3, 4, 5, 6]);
    await gate.open();
    for (const id of [first, ...ids]) await service.finished(id);
    expect((await readFile(order, 'utf8')).trim().split('\n')).toEqual(names);
  });

  test('have a clone each, which is gone when they are', async () => {
    const names = ['first', 'second'];
    const prompts = await createMeeting(names);
    const seen = await temporaryDirectory();
    const service = await startServiceProcess();
    const ids = await Promise.all(
      names.map((name, index) => {
        const look = `bash: ls > ${join(seen, name)}`;
        return service.submit({ prompt: `write: ${name}.txt x\n${prompts[index]}\n${look}\ndump` });
      }),
    );
    const jobs = await Promise.all(ids.map(service.finished));
    expect(jobs.map((job) => dumpIn(job)['cwd'])).toEqual(ids.map((id) => join(service.dataDir, 'jobs', id)));
    for (const name of names) expect(await readFile(join(seen, name), 'utf8')).toBe(`${name}.txt\n`);
    expect(await workspacesOf(service)).toEqual([]);
    await untilTrashIsEmpty(service);
  });
});

describe('the limit of unfinished jobs', () => {
  test('is exact under fifty requests at once, and the others are told when to come back', async () => {
    const gate = await createGate();
    const service = await startServiceProcess({ env: { MAX_CONCURRENCY: '2', MAX_QUEUE_DEPTH: '7' } });
    const responses = await Promise.all(
      Array.from({ length: 50 }, () => service.post('/execute', { prompt: gate.line })),
    );
    const accepted = responses.filter(({ status }) => status === 202);
    const refused = responses.filter(({ status }) => status === 429);
    expect([accepted.length, refused.length]).toEqual([7, 43]);
    for (const response of refused) {
      expect(Number(response.headers.get('retry-after'))).toBeGreaterThan(0);
      expect(response.headers.get('content-type')).toMatch('application/problem+json');
      expect(await response.json()).toMatchObject({ status: 429, code: 'queue_full', detail: 'Queue full' });
    }
    const refusedChat = await service.post('/v1/chat/completions', chat('say: x'));
    expect(refusedChat.status).toBe(429);
    expect(await refusedChat.json()).toMatchObject({
      error: { type: 'rate_limit_error', message: expect.any(String) },
    });
    await gate.open();
    for (const response of accepted) await service.finished(await jobIdOf(response));
    expect((await service.post('/execute', { prompt: 'say: x' })).status).toBe(202);
  });
});

describe('GET /health', () => {
  test('tells how busy the service is, at every moment', async () => {
    const gate = await createGate();
    const service = await startServiceProcess({ env: { MAX_CONCURRENCY: '2' } });
    const health = async (): Promise<unknown> => await (await fetch(`${service.url}/health`)).json();
    const idle = { status: 'ok', busy: false, active: 0, queued: 0, capacity: 2 };
    expect(await health()).toMatchObject(idle);
    const ids = [await service.submit({ prompt: gate.line })];
    await untilActive(service, 1);
    expect(await health()).toMatchObject({ ...idle, active: 1 });
    for (let more = 0; more < 2; more += 1) ids.push(await service.submit({ prompt: gate.line }));
    await untilActive(service, 2);
    expect(await health()).toMatchObject({ ...idle, busy: true, active: 2, queued: 1 });
    await gate.open();
    for (const id of ids) await service.finished(id);
    await untilActive(service, 0);
    expect(await health()).toMatchObject(idle);
  });
});

describe('a job past its time to live', () => {
  test('is 404 and its log is gone, while a queued and a running one of the same age stay', async () => {
    const gate = await createGate();
    const service = await startServiceProcess({ env: { MAX_CONCURRENCY: '2', JOB_TTL_SECONDS: '1' } });
    const kept = [await service.submit({ prompt: gate.line }), await service.submit({ prompt: gate.line })] as const;
    await untilActive(service, 2);
    const queued = await service.submit({ prompt: 'say: x' });
    const cancelled = await service.submit({ prompt: 'say: x' });
    await service.post(`/jobs/${cancelled}/cancel`, {});
    await untilUnknown(service, cancelled);
    expect(await service.read(`/jobs/${kept[0]}`)).toMatchObject({ status: 'running' });
    expect(await service.read(`/jobs/${queued}`)).toMatchObject({ status: 'queued' });
    await gate.open();
    for (const id of [...kept, queued]) expect(await service.finished(id)).toMatchObject({ status: 'completed' });
    for (const id of [...kept, queued]) await untilUnknown(service, id);
    const missing = await service.fetch(`/jobs/${queued}`);
    expect(await missing.json()).toMatchObject({ detail: 'Job not found', code: 'job_not_found' });
    await waitFor(
      async () => (await readdir(join(service.dataDir, 'runs'))).filter((name) => !name.startsWith('.')),
      (names) => names.length === 0,
      { what: 'the logs to be gone' },
    );
  });
});

describe('POST /jobs/:id/cancel', () => {
  test('ends a queued job at once and starts no agent', async () => {
    const [gate, agent] = [await createGate(), await track()];
    const service = await startServiceProcess({ env: { ...onePlace, MAX_QUEUE_DEPTH: '2' } });
    const first = await service.submit({ prompt: gate.line });
    await untilActive(service, 1);
    const queued = await service.submit({ prompt: agent.line });
    const response = await service.post(`/jobs/${queued}/cancel`, {});
    expect(response.status).toBe(202);
    const cancelled = { status: 'cancelled', reason: 'cancelled', started_at: null, queue_position: null };
    expect(await response.json()).toMatchObject({ job_id: queued, ...cancelled });
    const third = await service.submit({ prompt: 'say: in its place' });
    await gate.open();
    await service.finished(first);
    expect(await service.finished(third)).toMatchObject({ result: 'in its place' });
    expect(agent.hasStarted()).toBe(false);
    const again = await service.post(`/jobs/${queued}/cancel`, {});
    expect(again.status).toBe(200);
    expect(await again.json()).toEqual(await service.read(`/jobs/${queued}`));
  });

  test('ends the processes of a running job and frees its place', async () => {
    const [agent, tool] = [await track(), await track()];
    const service = await startServiceProcess({ env: onePlace });
    const id = await service.submit({ prompt: `${agent.line}\nbash: echo $$ > ${tool.file}; exec sleep 60` });
    const pids = [await agent.pid(), await tool.pid()];
    const responses = [await service.post(`/jobs/${id}/cancel`, {}), await service.post(`/jobs/${id}/cancel`, {})];
    expect(responses[0]?.status).toBe(202);
    expect([200, 202]).toContain(responses[1]?.status);
    const job = await service.finished(id);
    expect(job).toMatchObject({ status: 'cancelled', reason: 'cancelled' });
    expect(await Promise.all(pids.map(isAlive))).toEqual([false, false]);
    const again = await service.post(`/jobs/${id}/cancel`, {});
    expect(again.status).toBe(200);
    expect(await again.json()).toEqual(job);
    expect(await service.finished(await service.submit({ prompt: 'say: next' }))).toMatchObject({ result: 'next' });
  });

  test('knows no job of another name', async () => {
    const service = await startServiceProcess();
    for (const id of ['nothing', 'x'.repeat(300), '..%2F..%2Fetc']) {
      expect((await service.post(`/jobs/${id}/cancel`, {})).status).toBe(404);
      expect((await service.fetch(`/jobs/${id}`)).status).toBe(404);
    }
  });
});

describe('GET /jobs/:id?wait=', () => {
  test('answers when the job ends, or after so many seconds as the job is then', async () => {
    const gate = await createGate();
    const service = await startServiceProcess();
    const id = await service.submit({ prompt: `${gate.line}\nsay: opened` });
    await untilActive(service, 1);
    const started = performance.now();
    expect(await service.read(`/jobs/${id}?wait=1`)).toMatchObject({ status: 'running', result: null });
    expect(performance.now() - started).toBeGreaterThan(900);
    const waiting = service.read(`/jobs/${id}?wait=60`);
    await gate.open();
    expect(await waiting).toMatchObject({ status: 'completed', result: 'opened' });
    expect(performance.now() - started).toBeLessThan(50_000);
    const bad = ['61', '-1', 'x', '1.5'].map(async (wait) => (await service.fetch(`/jobs/${id}?wait=${wait}`)).status);
    expect(await Promise.all(bad)).toEqual([400, 400, 400, 400]);
  });
});

async function untilUnknown(service: ServiceProcess, id: string): Promise<void> {
  await waitFor(
    async () => (await service.fetch(`/jobs/${id}`)).status,
    (status) => status === 404,
    { what: 'the job to be forgotten' },
  );
}

async function jobIdOf(response: Response): Promise<string> {
  const body: unknown = await response.json();
  return typeof body === 'object' && body !== null && 'job_id' in body ? String(body.job_id) : '';
}

function timeOf(job: Job, field: string): number {
  return Date.parse(String(job[field]));
}

/** The text of a chat stream, its pieces joined. */
function contentOf(stream: string): string {
  const lines = stream.split('\n').filter((line) => line.startsWith('data: {'));
  return lines.map((line) => /"delta":\{[^}]*"content":"((?:[^"\\]|\\.)*)"/.exec(line)?.[1] ?? '').join('');
}
