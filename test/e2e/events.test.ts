import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import {
  asRecord,
  isAlive,
  type ServiceProcess,
  startServiceProcess,
  temporaryDirectory,
} from '../helpers/service-process.ts';
import { allFrames, type Frame, kept, readFrames } from '../helpers/sse-client.ts';
import { waitFor } from '../helpers/wait.ts';

const idsOf = (frames: readonly Frame[]) => frames.map((frame) => frame.id);
const oneTo = (n: number) => Array.from({ length: n }, (_, i) => String(i + 1));
const eventsOf = async (service: ServiceProcess, id: string, query = '') =>
  await allFrames(await service.fetch(`/jobs/${id}/events${query}`));

describe('the events of a job', () => {
  test('are told live and again, with the same gapless numbers, whoever asks and when', async () => {
    const service = await startServiceProcess();
    const id = await service.submit({
      prompt: 'say: one\nstderr: a warning\nsleep-ms: 300\nbash: true\nsay: two\nstderr: another\nsay: three',
    });
    const live = await eventsOf(service, id);
    expect(idsOf(kept(live))).toEqual(oneTo(kept(live).length));
    expect(
      kept(live)
        .map(({ event, data }) => (event === 'status' ? data : event))
        .slice(0, 3),
    ).toMatchObject([{ job_id: id, status: 'queued' }, { job_id: id, status: 'running' }, 'agent']);
    expect(live.at(-1)).toMatchObject({ event: 'end', data: { status: 'completed', reason: 'ok', result: 'three' } });
    expect(live.filter(({ event }) => event === 'stderr').map(({ data }) => data)).toEqual([
      { text: 'a warning' },
      { text: 'another' },
    ]);
    const deltas = live.filter(({ event }) => event === 'delta');
    expect(deltas.map(({ data }) => (data as { text: string }).text).join('')).toContain('one');
    expect(idsOf(deltas).every((number) => number === null)).toBe(true);
    const again = await eventsOf(service, id);
    expect(again).toEqual(kept(live));
  });

  test('are resumed after any of them, by header or by query', async () => {
    const service = await startServiceProcess();
    const id = await service.submit({ prompt: 'say: one\nbash: true\nstderr: odd\nsay: two' });
    await service.finished(id);
    const all = await eventsOf(service, id);
    for (let after = 0; after < all.length; after += 1) {
      expect(await eventsOf(service, id, `?after=${after}`)).toEqual(all.slice(after));
      const headers = { 'last-event-id': String(after) };
      expect(await allFrames(await service.fetch(`/jobs/${id}/events`, { headers }))).toEqual(all.slice(after));
    }
    expect((await service.fetch(`/jobs/${id}/events?after=${all.length}`)).status).toBe(204);
    expect((await service.fetch(`/jobs/${id}/events?after=-1`)).status).toBe(400);
    expect((await service.fetch(`/jobs/${id}/events`, { headers: { 'last-event-id': 'x' } })).status).toBe(400);
    expect((await service.fetch('/jobs/job_unknown/events')).status).toBe(404);
  });

  test('keep their numbers when the service is killed in the middle, and a reader goes on after its last one', async () => {
    const dir = await temporaryDirectory();
    const pidFile = join(dir, 'pid');
    const first = await startServiceProcess({ dataDir: join(dir, 'data') });
    const lines = Array.from({ length: 10 }, (_, i) => `say: line ${i}\nstderr: warning ${i}\nbash: true`).join('\n');
    const id = await first.submit({ prompt: `pid-file: ${pidFile}\n${lines}\nforever` });
    const seen: Frame[] = [];
    const reading = (async () => {
      for await (const frame of readFrames(await first.fetch(`/jobs/${id}/events`)))
        if (frame.id !== null) seen.push(frame);
    })().catch(() => undefined);
    await waitFor(
      () => seen.filter(({ event }) => event === 'stderr').length,
      (n) => n === 10,
      { what: 'its lines' },
    );
    first.signal('SIGKILL');
    await reading;
    const second = await startServiceProcess({ dataDir: join(dir, 'data') });
    const all = await eventsOf(second, id);
    expect(idsOf(all)).toEqual(oneTo(all.length));
    expect(all.slice(0, seen.length)).toEqual(seen);
    expect(all.at(-1)).toMatchObject({ event: 'end', data: { status: 'lost', reason: 'lost' } });
    expect(await eventsOf(second, id, `?after=${seen.length}`)).toEqual(all.slice(seen.length));
    await agentIsGone(pidFile);
  });

  test('of a job cancelled in the queue are two', async () => {
    const service = await startServiceProcess({ env: { MAX_CONCURRENCY: '1' } });
    const running = await service.submit({ prompt: 'forever' });
    const queued = await service.submit({ prompt: 'say: never' });
    const following = eventsOf(service, queued);
    await service.fetch(`/jobs/${queued}/cancel`, { method: 'POST' });
    expect(await following).toMatchObject([
      { id: '1', event: 'status', data: { status: 'queued' } },
      { id: '2', event: 'end', data: { status: 'cancelled', reason: 'cancelled' } },
    ]);
    await service.fetch(`/jobs/${running}/cancel`, { method: 'POST' });
  });

  test('come with the submit where the caller accepts an event stream; hanging up does not end the job', async () => {
    const service = await startServiceProcess();
    const headers = { accept: 'text/event-stream' };
    const body = JSON.stringify({ prompt: 'say: hello' });
    const response = await service.fetch('/execute', { method: 'POST', body, headers });
    expect(response.status).toBe(200);
    const frames = await allFrames(response);
    expect(response.headers.get('location')).toBe(`/jobs/${String(asRecord(frames[0]?.data)['job_id'])}`);
    expect(frames.at(-1)).toMatchObject({ event: 'end', data: { status: 'completed', result: 'hello' } });
    const refusing = { accept: 'application/json, text/event-stream;q=0.0' };
    const plain = await service.fetch('/execute', { method: 'POST', body, headers: refusing });
    expect([plain.status, plain.headers.get('content-type')]).toEqual([202, 'application/json; charset=utf-8']);
    const leaving = new AbortController();
    const left = await service.fetch('/execute', {
      ...{ method: 'POST', headers, signal: leaving.signal },
      body: JSON.stringify({ prompt: 'sleep-ms: 500\nsay: done' }),
    });
    leaving.abort();
    expect(await service.finished(left.headers.get('location')?.slice(6) ?? '')).toMatchObject({ result: 'done' });
  });
});

describe('the log of a job', () => {
  test('is what the agent printed, whole, in parts, and live', async () => {
    const service = await startServiceProcess();
    const id = await service.submit({ prompt: 'say: one\nstderr: warned\nsleep-ms: 300\nsay: two' });
    const live = await (await service.fetch(`/jobs/${id}/log?follow=1`)).text();
    const whole = await (await service.fetch(`/jobs/${id}/log`)).text();
    expect(live).toBe(whole);
    expect(
      whole
        .trimEnd()
        .split('\n')
        .map((line) => asRecord(JSON.parse(line))['type']),
    ).toContain('result');
    expect(await (await service.fetch(`/jobs/${id}/log?stream=stderr`)).text()).toBe('warned\n');
    const size = Buffer.byteLength(whole);
    const part = await service.fetch(`/jobs/${id}/log`, { headers: { range: 'bytes=5-9' } });
    expect([part.status, part.headers.get('content-range'), await part.text()]).toEqual([
      206,
      `bytes 5-9/${size}`,
      whole.slice(5, 10),
    ]);
    const unsure = await service.fetch(`/jobs/${id}/log`, { headers: { range: 'bytes=5-9', 'if-range': '"a"' } });
    expect([unsure.status, await unsure.text()]).toEqual([200, whole]);
    const tail = await service.fetch(`/jobs/${id}/log`, { headers: { range: 'bytes=-7' } });
    expect(await tail.text()).toBe(whole.slice(-7));
    const past = await service.fetch(`/jobs/${id}/log`, { headers: { range: `bytes=${size}-` } });
    expect([past.status, past.headers.get('content-range')]).toEqual([416, `bytes */${size}`]);
    expect((await service.fetch('/jobs/job_unknown/log')).status).toBe(404);
  });

  test('is empty before there is one', async () => {
    const service = await startServiceProcess({ env: { CLAUDE_BIN: '/nowhere/claude' }, unready: true });
    const id = await service.submit({ prompt: 'say: hello' });
    await service.finished(id);
    const log = await service.fetch(`/jobs/${id}/log`);
    expect([log.status, await log.text()]).toEqual([200, '']);
    expect(idsOf(await eventsOf(service, id))).toEqual(['1', '2', '3']);
  });
});

/** The agent of a killed service goes with it, or is ended by the next one: found by the id that it wrote. */
async function agentIsGone(pidFile: string): Promise<void> {
  const pid = Number(await readFile(pidFile, 'utf8'));
  await waitFor(
    () => isAlive(pid),
    (alive) => !alive,
    { what: 'the end of the agent' },
  );
}

test('who follows a queued job when the service stops is let go, and goes on after its restart', async () => {
  const env = { MAX_CONCURRENCY: '1', DRAIN_SECONDS: '0' };
  const first = await startServiceProcess({ env });
  await first.submit({ prompt: 'forever' });
  const id = await first.submit({ prompt: 'say: hello' });
  const following = eventsOf(first, id);
  const waiting = first.fetch(`/jobs/${id}?wait=60`);
  first.signal('SIGTERM');
  expect(await following).toMatchObject([{ id: '1', data: { status: 'queued' } }]);
  expect(asRecord(await (await waiting).json())['status']).toBe('queued');
  expect(await first.exited()).toBe(0);
  const second = await startServiceProcess({ env, dataDir: first.dataDir });
  const rest = kept(await eventsOf(second, id, '?after=1'));
  expect(idsOf(rest)).toEqual(oneTo(rest.length + 1).slice(1));
  expect(rest.at(-1)).toMatchObject({ event: 'end', data: { status: 'completed', result: 'hello' } });
});
