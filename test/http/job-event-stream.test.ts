import { get } from 'node:http';
import Fastify from 'fastify';
import { expect, onTestFinished, test } from 'vitest';
import { streamJobEvents } from '../../src/http/job-event-stream.ts';
import { whenClosed } from '../../src/http/when-closed.ts';
import type { JobRecord } from '../../src/jobs/job.ts';
import type { NumberedEvent } from '../../src/jobs/job-events.ts';
import type { JobService } from '../../src/jobs/job-service.ts';
import { newJob } from '../contracts/job-builders.ts';
import { readFrames } from '../helpers/sse-client.ts';
import { waitFor } from '../helpers/wait.ts';
import { addressOf } from './openai/chat-app.ts';

const job: JobRecord = {
  ...newJob(),
  ...{ seq: 1, status: 'running', attempt: 1, startedAt: 1, finishedAt: null, queuePosition: null, outcome: null },
};

/** A server whose one job has these events. */
async function serve(events: (signal: AbortSignal) => AsyncGenerator<NumberedEvent, void>, commentMs?: number) {
  const jobs = { get: async () => job, events: (_id: string, _after: number, signal: AbortSignal) => events(signal) };
  const app = Fastify();
  app.get('/', async (_request, reply) =>
    streamJobEvents(
      { jobs: jobs as Partial<JobService> as JobService, reply, signal: whenClosed(reply.raw), commentMs },
      { id: job.id, after: 0, deltas: true },
    ),
  );
  onTestFinished(async () => {
    app.server.closeAllConnections();
    await app.close();
  });
  await app.listen({ host: '127.0.0.1', port: 0 });
  return addressOf(app).port;
}

test('a silent stream is kept alive by comments, which clients do not take for events', async () => {
  const port = await serve(async function* (signal) {
    yield { id: 1, type: 'status', job, status: 'queued', at: job.createdAt };
    await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
  }, 20);
  const leaving = new AbortController();
  const response = await fetch(`http://127.0.0.1:${port}/`, { signal: leaving.signal });
  const comments: string[] = [];
  const frames: string[] = [];
  const reading = (async () => {
    for await (const frame of readFrames(response, (text) => comments.push(text))) frames.push(frame.event);
  })().catch(() => undefined);
  await waitFor(
    () => comments.length,
    (count) => count >= 5,
    { what: 'comments' },
  );
  leaving.abort();
  await reading;
  expect(frames).toEqual(['status']);
});

test('a reader who takes nothing holds up its own stream, and costs no memory', async () => {
  let made = 0;
  let left = false;
  const port = await serve(async function* (signal) {
    try {
      for (let id = 1; !signal.aborted; id += 1) {
        made += 1;
        yield { id, type: 'stderr', text: 'x'.repeat(10_000) };
      }
    } finally {
      left = true;
    }
  });
  const request = get({ host: '127.0.0.1', port }, (response) => response.pause());
  request.on('error', () => undefined);
  const stable = async (): Promise<boolean> => {
    const before = made;
    await new Promise((resolve) => setTimeout(resolve, 200));
    return made > 0 && made === before;
  };
  await waitFor(stable, Boolean, { what: 'the stream to be held up' });
  // What the system buffers for a connection, a few megabytes, and what Node does.
  expect(made * 10_000).toBeLessThan(32 * 1024 * 1024);
  request.destroy();
  await waitFor(() => left, Boolean, { what: 'the events to be let go' });
});
