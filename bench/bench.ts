import { execFile } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import autocannon from 'autocannon';
import Fastify from 'fastify';
import { createGitRepo } from '../test/helpers/git-repo.ts';
import { print, quantile, row } from './figures.ts';
import { agents, headers, type RunningService, startService } from './running-service.ts';

/** What the service costs beyond the bare parts, each measured in the same run: take the ratios, not the figures. */

const run = promisify(execFile);
const instant = join(agents, 'instant.sh');
const fakeClaude = join(agents, 'fake-claude.mjs');
const files = 200;
const seconds = 4;

const dir = await mkdtemp(join(tmpdir(), 'bench-'));
try {
  const repo = await createGitRepo(join(dir, 'repo'), sampleFiles());
  await accepting();
  await oneJobAtATime(repo.path);
  await tenAtOnce(repo.path);
  await healthUnderOutput(repo.path);
} finally {
  await rm(dir, { recursive: true, force: true });
}

/** Every answer to a submit is durable; the queue is held by one job that never ends. */
async function accepting(): Promise<void> {
  const bare = Fastify();
  bare.get('/health', () => ({ status: 'ok' }));
  bare.post('/execute', (_request, reply) =>
    reply.code(202).send({ job_id: 'x', status: 'queued', queue_position: 1 }),
  );
  const url = await bare.listen({ host: '127.0.0.1', port: 0 });
  await using service = await startService({
    CLAUDE_BIN: fakeClaude,
    MAX_CONCURRENCY: '1',
    MAX_QUEUE_DEPTH: '1000000',
  });
  await service.call('/execute', { prompt: 'forever' });
  const post = { method: 'POST', headers, body: JSON.stringify({ prompt: 'x'.repeat(200) }) } as const;
  const bareGet = await load(`${url}/health`, {});
  const get = await load(`${service.url}/health`, {});
  row('GET /health, 64 clients, against bare Fastify', get.requests.average, bareGet.requests.average, 'req/s');
  const barePost = await load(`${url}/execute`, post);
  const submit = await load(`${service.url}/execute`, post);
  row(
    'POST /execute (durable), 64 clients, against bare Fastify',
    submit.requests.average,
    barePost.requests.average,
    'req/s',
  );
  row('  its latency p99', submit.latency.p99, barePost.latency.p99, 'ms');
  if (submit.non2xx > 0) throw new Error(`${submit.non2xx} submits were refused`);
  await bare.close();
}

async function load(url: string, options: object) {
  return await autocannon({ url, connections: 64, duration: seconds, ...options });
}

/** The bare job: clone, run, remove, each as its own process. */
async function bareJob(repo: string): Promise<void> {
  const path = join(dir, 'bare');
  await run('git', ['clone', '-q', '--local', repo, path]);
  const agent = run(instant, [], { cwd: path });
  agent.child.stdin?.end();
  await agent;
  await run('rm', ['-rf', path]);
}

async function oneJob(service: RunningService): Promise<Record<string, unknown>> {
  const { job_id } = await service.call('/execute', { prompt: 'x' });
  const job = await service.call(`/jobs/${String(job_id)}?wait=60`);
  if (job['status'] !== 'completed') throw new Error(JSON.stringify(job));
  return job;
}

async function oneJobAtATime(repo: string): Promise<void> {
  await using service = await startService({ CLAUDE_BIN: instant, BASE_REPO_URL: repo });
  const ours: number[] = [];
  const bare: number[] = [];
  for (let round = 0; round < 40; round += 1) {
    ours.push(await timed(() => oneJob(service)));
    bare.push(await timed(() => bareJob(repo)));
  }
  row(`one job, ${files} files, submit to final, p50`, quantile(ours, 0.5), quantile(bare, 0.5), 'ms');
}

async function tenAtOnce(repo: string): Promise<void> {
  await using service = await startService({ CLAUDE_BIN: instant, BASE_REPO_URL: repo, MAX_QUEUE_DEPTH: '1000' });
  const count = 200;
  const bareMs = await timed(async () => {
    for (let i = 0; i < count / 4; i += 1) await bareJob(repo);
  });
  const oursMs = await timed(async () => {
    await Promise.all(Array.from({ length: count }, () => oneJob(service)));
  });
  row(
    `jobs/s, instant agent, ${files} files, against one at a time`,
    count / (oursMs / 1000),
    count / 4 / (bareMs / 1000),
    'jobs/s',
  );
}

/** Ten agents print 50 MB each while the probe asks. */
async function healthUnderOutput(repo: string): Promise<void> {
  await using service = await startService({ CLAUDE_BIN: fakeClaude, BASE_REPO_URL: repo });
  const probe = async (until: () => boolean): Promise<number[]> => {
    const samples: number[] = [];
    while (!until()) samples.push(await timed(async () => (await fetch(`${service.url}/health`)).text()));
    return samples;
  };
  const start = performance.now();
  const idle = await probe(() => performance.now() - start > 2_000);
  let done = false;
  const jobs = Array.from({ length: 10 }, async () => {
    const { job_id } = await service.call('/execute', { prompt: `flood: ${50 * 1024 * 1024}\nsay: done` });
    return await service.call(`/jobs/${String(job_id)}?wait=60`);
  });
  const ended = Promise.all(jobs).finally(() => (done = true));
  const busy = await probe(() => done);
  const statuses = (await ended).map((job) => String(job['status']));
  print(`ten agents of 50 MB each: ${[...new Set(statuses)].join(', ')}`);
  row('GET /health p99 meanwhile, against the idle service', quantile(busy, 0.99), quantile(idle, 0.99), 'ms');
  row('  its maximum', Math.max(...busy), Math.max(...idle), 'ms');
}

async function timed(work: () => Promise<unknown>): Promise<number> {
  const start = performance.now();
  await work();
  return performance.now() - start;
}

function sampleFiles(): Record<string, string> {
  const names = Array.from({ length: files }, (_, index) => `src/part${index % 20}/file${index}.txt`);
  return Object.fromEntries(names.map((name, index) => [name, `${name}\n`.repeat(100 + index)]));
}
