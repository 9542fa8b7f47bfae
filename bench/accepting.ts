import { createHash } from 'node:crypto';
import { join } from 'node:path';
import autocannon from 'autocannon';
import Fastify from 'fastify';
import { serializerCompiler, validatorCompiler, type ZodTypeProvider } from 'fastify-type-provider-zod';
import { z } from 'zod';
import { row } from './figures.ts';
import { agents, headers, startService } from './running-service.ts';

const clients = 64;
const seconds = 4;
const prompt = 'x'.repeat(200);

/** Answers of a held queue: one job that never ends keeps the only place. Each submit is answered after its commit. */
export async function benchAccepting(): Promise<void> {
  const bare = await bareServer();
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
  await bare.close();
}

async function load(url: string, options: object) {
  return await autocannon({ url, connections: clients, duration: seconds, ...options });
}

/** What any such service needs: the body parsed and validated, the token compared by its digest. Keeps nothing. */
async function bareServer() {
  const app = Fastify().withTypeProvider<ZodTypeProvider>();
  app.setValidatorCompiler(validatorCompiler);
  app.setSerializerCompiler(serializerCompiler);
  const digest = (text: string) => createHash('sha256').update(text).digest('hex');
  const expected = digest(headers.authorization);
  app.addHook('onRequest', async (request, reply) => {
    if (request.method === 'POST' && digest(request.headers.authorization ?? '') !== expected)
      await reply.code(401).send();
  });
  app.get('/health', () => ({ status: 'ok' }));
  const body = z.strictObject({ prompt: z.string().min(1), max_budget_usd: z.number().gt(0).default(5) });
  const answer = z.object({ job_id: z.string(), status: z.string(), queue_position: z.int() });
  app.post('/execute', { schema: { body, response: { 202: answer } } }, async (_request, reply) => {
    return await reply.code(202).send({ job_id: 'job_x', status: 'queued', queue_position: 1 });
  });
  const url = await app.listen({ host: '127.0.0.1', port: 0 });
  return { url, close: () => app.close() };
}
