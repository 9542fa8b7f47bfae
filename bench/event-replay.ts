import { appendFileSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { get } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Fastify from 'fastify';
import { providers } from '../src/agents/registry.ts';
import { createRunLog } from '../src/agents/run-log.ts';
import { createRunRecorder } from '../src/agents/run-recorder.ts';
import { streamJobEvents } from '../src/http/job-event-stream.ts';
import { whenClosed } from '../src/http/when-closed.ts';
import { emptyReport, type JobRecord } from '../src/jobs/job.ts';
import { readJobEvents } from '../src/jobs/job-events.ts';
import { createJobId } from '../src/jobs/job-id.ts';
import type { JobService } from '../src/jobs/job-service.ts';
import { createJobSignals } from '../src/jobs/job-signals.ts';

/** Replays the events of a finished job over HTTP: `node bench/event-replay.ts [events]`. */
const count = Number(process.argv[2] ?? 100_000);
const runsDir = mkdtempSync(join(tmpdir(), 'event-replay-'));
const id = createJobId();
mkdirSync(join(runsDir, id));
const line = (n: number) =>
  `{"type":"assistant","message":{"id":"msg_${n}","content":[{"type":"text","text":"${'word '.repeat(40)}${n}"}]},"parent_tool_use_id":null}\n`;
for (let n = 0; n < count; n += 1000) {
  appendFileSync(join(runsDir, id, 'stdout.log'), Array.from({ length: 1000 }, (_, i) => line(n + i)).join(''));
}
const quiet = { debug() {}, info() {}, warn() {}, error() {} };
const recorder = createRunRecorder({ runsDir, log: quiet });
const runLog = createRunLog({ runsDir, recorder, providers });
const job: JobRecord = {
  ...{ id, seq: 1, caller: 'bench', status: 'completed', attempt: 1, createdAt: 1, startedAt: 1, finishedAt: 1 },
  queuePosition: null,
  outcome: { status: 'completed', reason: 'ok', error: null, report: emptyReport },
  spec: {
    ...{ kind: 'execute', provider: 'claude', prompt: '', systemPrompt: null, agent: null, model: null, effort: null },
    ...{ maxBudgetUsd: 1, timeoutMs: 1, metadata: null },
  },
};
const deps = { get: async () => job, signals: createJobSignals(), running: { agentStarted: async () => {} }, runLog };
const jobs = {
  get: async () => job,
  events: (wanted: string, after: number, signal: AbortSignal) => readJobEvents(deps, wanted, after, signal),
} as Partial<JobService> as JobService;
const app = Fastify();
app.get('/', async (request, reply) => {
  const after = Number(new URL(request.url, 'http://localhost').searchParams.get('after'));
  const signal = whenClosed(reply.raw);
  return await streamJobEvents({ jobs, reply, signal, commentMs: undefined }, { id, after, deltas: true });
});
const url = await app.listen({ host: '127.0.0.1', port: 0 });

async function replay(after: number) {
  globalThis.gc?.();
  const before = process.memoryUsage().rss;
  let peak = before;
  const startedAt = performance.now();
  let firstMs = 0;
  let frames = 0;
  let lag = 0;
  let last = performance.now();
  const ticks = setInterval(() => {
    const now = performance.now();
    lag = Math.max(lag, now - last - 5);
    last = now;
    peak = Math.max(peak, process.memoryUsage().rss);
  }, 5);
  await new Promise<void>((resolve) => {
    get(`${url}/?after=${after}`, (response) => {
      response.on('data', (bytes: Buffer) => {
        firstMs ||= performance.now() - startedAt;
        for (let at = bytes.indexOf('id: '); at !== -1; at = bytes.indexOf('id: ', at + 4)) frames += 1;
      });
      response.on('end', resolve);
    });
  });
  clearInterval(ticks);
  return {
    after,
    frames,
    firstByteMs: Math.round(firstMs),
    totalMs: Math.round(performance.now() - startedAt),
    rssGrowthMB: Math.round((peak - before) / 1e6),
    longestStallMs: Math.round(lag),
  };
}

await replay(0);
const results = [];
for (const after of [0, count / 2, count]) results.push(await replay(after));
process.stdout.write(`${results.map((result) => JSON.stringify(result)).join('\n')}\n`);
await app.close();
rmSync(runsDir, { recursive: true });
