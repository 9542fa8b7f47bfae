import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { quantile } from './figures.ts';
import { agents, headers, startService } from './running-service.ts';

/** From the end of a job, as it says itself, to those who wait for it: `node bench/notify.ts [jobs]`, one after the other. */
const count = Number(process.argv[2] ?? 200);
const secret = `whsec_${Buffer.alloc(24, 1).toString('base64')}`;

const posted = new Map<string, PromiseWithResolvers<number>>();
const expectPost = (id: string): PromiseWithResolvers<number> => {
  const post = posted.get(id) ?? Promise.withResolvers<number>();
  posted.set(id, post);
  return post;
};
const receiver = createServer((request, response) => {
  const arrivedAt = Date.now();
  let body = '';
  request.setEncoding('utf8').on('data', (text: string) => (body += text));
  request.on('end', () => {
    response.writeHead(204).end();
    const id = /"job_id":"([^"]+)"/.exec(body)?.[1];
    if (id !== undefined) expectPost(id).resolve(arrivedAt);
  });
});
receiver.listen(0, '127.0.0.1');
await once(receiver, 'listening');
const host = `127.0.0.1:${(receiver.address() as AddressInfo).port}`;

const samples: Record<'longPoll' | 'sse' | 'webhook', number[]> = { longPoll: [], sse: [], webhook: [] };
{
  await using service = await startService({
    CLAUDE_BIN: join(agents, 'instant.sh'),
    WEBHOOK_SECRET: secret,
    WEBHOOK_ALLOWED_HOSTS: host,
  });
  for (let n = 0; n < count; n += 1) {
    const job = await service.call('/execute', { prompt: 'hello', webhook: { url: `http://${host}/` } });
    const id = String(job['job_id']);
    const arrived = await Promise.all([polled(service.url, id), streamed(service.url, id), expectPost(id).promise]);
    posted.delete(id);
    const endedAt = Date.parse(String((await service.call(`/jobs/${id}`))['finished_at']));
    const [longPoll, sse, webhook] = arrived.map((at) => at - endedAt);
    samples.longPoll.push(longPoll ?? Number.NaN);
    samples.sse.push(sse ?? Number.NaN);
    samples.webhook.push(webhook ?? Number.NaN);
  }
}
receiver.close();
for (const [what, ms] of Object.entries(samples)) {
  process.stdout.write(`${JSON.stringify({ what, jobs: count, p50: quantile(ms, 0.5), p95: quantile(ms, 0.95) })}\n`);
}

async function polled(url: string, id: string): Promise<number> {
  await (await fetch(`${url}/jobs/${id}?wait=60`, { headers })).text();
  return Date.now();
}

/** When the frame that tells of the end came. */
async function streamed(url: string, id: string): Promise<number> {
  const response = await fetch(`${url}/jobs/${id}/events`, { headers });
  let text = '';
  for await (const bytes of response.body ?? []) {
    text += Buffer.from(bytes).toString('utf8');
    if (text.includes('event: end\n')) break;
  }
  return Date.now();
}
