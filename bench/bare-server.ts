import { createHash } from 'node:crypto';
import Fastify from 'fastify';
import { serializerCompiler, validatorCompiler, type ZodTypeProvider } from 'fastify-type-provider-zod';
import { z } from 'zod';

/**
 * What any such service needs, and nothing else: the body parsed and validated, the token compared by its digest. Keeps nothing.
 * A program of its own, as the service is one: it has its thread to itself. Prints its URL.
 */
const app = Fastify().withTypeProvider<ZodTypeProvider>();
app.setValidatorCompiler(validatorCompiler);
app.setSerializerCompiler(serializerCompiler);
const digest = (text: string) => createHash('sha256').update(text).digest('hex');
const expected = digest(`Bearer ${process.argv[2]}`);
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
process.stdout.write(`${await app.listen({ host: '127.0.0.1', port: 0 })}\n`);
