import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { outcomeWithoutAgent } from '../src/jobs/job.ts';
import { createJobId } from '../src/jobs/job-id.ts';
import type { JobQuery, NewJob } from '../src/jobs/ports.ts';
import { createSqliteStore } from '../src/store/sqlite-store.ts';

/** Durable submits, then lists over them: `node bench/store-list.ts [jobs]`. */
const count = Number(process.argv[2] ?? 100_000);
const clients = 64;
const directory = mkdtempSync(join(tmpdir(), 'store-list-'));
const quiet = { debug() {}, info() {}, warn() {}, error() {} };
const open = () => createSqliteStore({ file: join(directory, 'jobs.db'), log: quiet });
let store = open();
await store.ready();
const plain = { systemPrompt: null, model: null, effort: null, maxBudgetUsd: 5, timeoutMs: 1 };
const job = (n: number): NewJob => ({
  id: createJobId(),
  caller: `caller-${n % 10}`,
  createdAt: n * 1_000,
  idempotency: { key: `key-${n}`, hash: 'hash' },
  spec: {
    ...{
      kind: 'execute',
      provider: 'claude',
      prompt: `prompt ${n} `.repeat(30),
      agent: n % 3 === 0 ? 'reviewer' : null,
    },
    ...plain,
    ...(n % 100 === 0 && { followUp: true }),
    metadata: { ticket: `T-${n}`, team: `team-${n % 5}`, build: n },
  },
});
const say = (line: object) => process.stdout.write(`${JSON.stringify(line)}\n`);

const delay = monitorEventLoopDelay({ resolution: 5 });
delay.enable();
let next = 0;
const startedAt = performance.now();
await Promise.all(
  Array.from({ length: clients }, async () => {
    while (next < count) await store.jobs.submit(job(next++), { maxUnfinished: count });
  }),
);
delay.disable();
const seconds = (performance.now() - startedAt) / 1000;
say({ submits: count, perSecond: Math.round(count / seconds), loopDelayP99Ms: Math.round(delay.percentile(99) / 1e6) });
const outcome = outcomeWithoutAgent('failed', 'no_result', 'x');
while (store.membership.counts().queued > 1_000) {
  const claims = await store.jobs.claim(500, 1);
  await Promise.all(claims.map((claim) => store.jobs.finish(claim, outcome, 2)));
}
const all: JobQuery = { status: null, caller: null, limit: 50, beforeSeq: null };
const queries: Record<string, Partial<JobQuery>> = {
  newest: {},
  middle: { beforeSeq: Math.floor(count / 2) },
  status: { status: 'failed' },
  caller: { caller: 'caller-3' },
  agent: { agent: 'reviewer' },
  'agent, none': { agent: 'nobody' },
  ticket: { metadata: { name: 'ticket', value: `T-${count - 5}` } },
  team: { metadata: { name: 'team', value: 'team-2' } },
  'team of a caller, none': { metadata: { name: 'team', value: 'team-2' }, caller: 'caller-3' },
  'has ticket': { metadata: { name: 'ticket', value: null } },
  'old hour': { createdFrom: 1_000_000, createdBefore: 4_600_000 },
  'last hour': { createdFrom: (count - 3_600) * 1_000 },
  'all time': { createdFrom: 0 },
  'old hour of a caller': { createdFrom: 1_000_000, createdBefore: 4_600_000, caller: 'caller-3' },
  'old hour, failed': { createdFrom: 1_000_000, createdBefore: 4_600_000, status: 'failed' },
  due: { followedUp: false },
};
for (const [name, query] of Object.entries(queries)) {
  const times: number[] = [];
  let found = 0;
  for (let n = 0; n < 40; n += 1) {
    const from = performance.now();
    found = (await store.jobs.list({ ...all, ...query })).jobs.length;
    times.push(performance.now() - from);
  }
  times.sort((a, b) => a - b);
  say({ list: name, found, p50Ms: +(times[20] ?? 0).toFixed(2), p95Ms: +(times[37] ?? 0).toFixed(2) });
}
await store.close();
const reopening = performance.now();
store = open();
await store.ready();
say({ reopenMs: Math.round(performance.now() - reopening) });
await store.close();
rmSync(directory, { recursive: true });
