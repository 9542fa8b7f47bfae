import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { outcomeWithoutAgent } from '../src/jobs/job.ts';
import { createJobId } from '../src/jobs/job-id.ts';
import { createSqliteStore } from '../src/store/sqlite-store.ts';
import { agents, startService } from './running-service.ts';

/** How long a start takes with many kept jobs, against one with none: `node bench/start.ts [jobs]`. */
const count = Number(process.argv[2] ?? 10_000);
const parent = mkdtempSync(join(tmpdir(), 'start-'));
const quiet = { debug() {}, info() {}, warn() {}, error() {} };

const [empty, full] = [join(parent, 'empty'), join(parent, 'full')];
await startMs(empty);
await startMs(full);
await fill(full);
for (let round = 0; round < 3; round += 1) {
  const [without, kept] = [await startMs(empty), await startMs(full)];
  const figures = { jobs: count, startMs: Math.round(kept), withoutMs: Math.round(without) };
  process.stdout.write(`${JSON.stringify({ ...figures, differenceMs: Math.round(kept - without) })}\n`);
}
rmSync(parent, { recursive: true });

/** From the start of the process until it is ready. */
async function startMs(dataDir: string): Promise<number> {
  const startedAt = performance.now();
  const service = await startService({ DATA_DIR: dataDir, CLAUDE_BIN: join(agents, 'instant.sh') });
  const ms = performance.now() - startedAt;
  await service[Symbol.asyncDispose]();
  return ms;
}

/** Jobs that have ended, each with the log of its run. */
async function fill(dataDir: string): Promise<void> {
  const store = createSqliteStore({ file: join(dataDir, 'jobs.db'), log: quiet });
  const now = Date.now();
  const plain = { systemPrompt: null, agent: null, model: null, effort: null, maxBudgetUsd: 5, timeoutMs: 1 };
  const spec = { ...plain, kind: 'execute', provider: 'claude', prompt: 'x'.repeat(500), metadata: null } as const;
  const job = () => ({ id: createJobId(), caller: 'default', createdAt: now, spec });
  await Promise.all(Array.from({ length: count }, () => store.jobs.submit(job(), { maxUnfinished: count })));
  const outcome = outcomeWithoutAgent('failed', 'no_result', 'x');
  for (let claims = await store.jobs.claim(500, now); claims.length > 0; claims = await store.jobs.claim(500, now)) {
    await Promise.all(claims.map((claim) => store.jobs.finish(claim, outcome, now)));
    for (const { job: ended } of claims) {
      const directory = join(dataDir, 'runs', ended.id);
      mkdirSync(directory, { recursive: true, mode: 0o700 });
      for (const name of ['stdout.log', 'stderr.log', 'prompt', 'order']) {
        writeFileSync(join(directory, name), 'x'.repeat(1_000));
      }
    }
  }
  await store.close();
}
