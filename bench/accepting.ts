import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import autocannon from 'autocannon';
import { row } from './figures.ts';
import { agents, headers, startService } from './running-service.ts';

const clients = 64;
const seconds = 4;
const prompt = 'x'.repeat(200);

/** Answers of a held queue: one job that never ends keeps the only place. Each submit is answered after its commit. */
export async function benchAccepting(): Promise<void> {
  await using bare = await startBare();
  await using service = await startService({
    CLAUDE_BIN: join(agents, 'fake-claude.mjs'),
    MAX_CONCURRENCY: '1',
    MAX_QUEUE_DEPTH: '1000000',
  });
  await service.call('/execute', { prompt: 'forever' });
  const post = { method: 'POST', headers, body: JSON.stringify({ prompt }) };
  const bareGet = await load(`${bare.url}/health`, {});
  const get = await load(`${service.url}/health`, {});
  row(`GET /health, ${clients} clients, against bare Fastify`, get.requests.average, bareGet.requests.average, 'req/s');
  const barePost = await load(`${bare.url}/execute`, post);
  const submit = await load(`${service.url}/execute`, post);
  const what = `POST /execute, durable, ${clients} clients, against Fastify, auth, zod`;
  row(what, submit.requests.average, barePost.requests.average, 'req/s');
  row('  its latency p99', submit.latency.p99, barePost.latency.p99, 'ms');
  if (submit.non2xx > 0) throw new Error(`${submit.non2xx} submits were refused`);
}

async function load(url: string, options: object) {
  return await autocannon({ url, connections: clients, duration: seconds, ...options });
}

async function startBare() {
  const program = join(import.meta.dirname, 'bare-server.ts');
  const child = spawn(process.execPath, [program, 'bench-token'], { stdio: ['ignore', 'pipe', 'inherit'] });
  const exit = once(child, 'exit');
  const [line]: unknown[] = await once(child.stdout.setEncoding('utf8'), 'data');
  return {
    url: String(line).trim(),
    async [Symbol.asyncDispose]() {
      child.kill('SIGTERM');
      await exit;
    },
  };
}
