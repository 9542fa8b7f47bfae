import { createHmac } from 'node:crypto';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { describe, expect, onTestFinished, test } from 'vitest';
import { asRecord, startServiceProcess } from '../helpers/service-process.ts';
import { waitFor } from '../helpers/wait.ts';

const key = Buffer.alloc(24, 7);
const secret = `whsec_${key.toString('base64')}`;

interface Post {
  readonly headers: NodeJS.Dict<string | string[]>;
  readonly body: string;
}

/** A receiver that answers the first posts with `statuses`, all others with 204. */
async function startReceiver(statuses: readonly number[] = []) {
  const posts: Post[] = [];
  const server = createServer((request, response) => {
    let body = '';
    request.setEncoding('utf8').on('data', (text: string) => (body += text));
    request.on('end', () => {
      response.writeHead(statuses[posts.length] ?? 204, { location: '/elsewhere' }).end();
      posts.push({ headers: request.headers, body });
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  const { port } = server.address() as AddressInfo;
  return { posts, host: `127.0.0.1:${port}`, url: `http://127.0.0.1:${port}/hook` };
}

const dataOf = ({ body }: Post) => asRecord(JSON.parse(body));

describe('a webhook', () => {
  test('tells of the beginning and the end of a job, signed', async () => {
    const receiver = await startReceiver();
    const env = { WEBHOOK_SECRET: secret, WEBHOOK_ALLOWED_HOSTS: receiver.host };
    const service = await startServiceProcess({ env });
    const webhook = { url: receiver.url, events: ['running', 'final'] };
    const id = await service.submit({ prompt: 'say: hello', webhook, metadata: { ticket: 7 } });
    await waitFor(
      () => receiver.posts.length,
      (n) => n === 2,
      { what: 'two posts' },
    );
    const types = receiver.posts.map((post) => String(dataOf(post)['type']));
    expect(new Set(types)).toEqual(new Set(['job.completed', 'job.running']));
    const last = receiver.posts[types.indexOf('job.completed')] ?? { headers: {}, body: '{}' };
    expect(dataOf(last)).toMatchObject({
      data: { job_id: id, status: 'completed', reason: 'ok', metadata: { ticket: 7 } },
    });
    const signed = `${String(last.headers['webhook-id'])}.${String(last.headers['webhook-timestamp'])}.${last.body}`;
    const signature = `v1,${createHmac('sha256', key).update(signed).digest('base64')}`;
    expect(last.headers['webhook-signature']).toBe(signature);
  });

  test('is sent again after a failure, and what was not sent is sent after a restart; one URL is told of all', async () => {
    const receiver = await startReceiver([500]);
    const env = { WEBHOOK_SECRET: secret, WEBHOOK_ALLOWED_HOSTS: receiver.host, WEBHOOK_URL: receiver.url };
    const service = await startServiceProcess({ env });
    const id = await service.submit({ prompt: 'say: hello' });
    await waitFor(
      () => receiver.posts.length,
      (n) => n === 1,
      { what: 'the first try' },
    );
    service.signal('SIGKILL');
    await service.exited();
    await startServiceProcess({ env, dataDir: service.dataDir });
    await waitFor(
      () => receiver.posts.length,
      (n) => n === 2,
      { what: 'the second try', timeoutMs: 90_000 },
    );
    const [first, second] = receiver.posts;
    expect(second?.body).toBe(first?.body);
    expect(second?.headers['webhook-id']).toBe(first?.headers['webhook-id']);
    expect(dataOf(second ?? { headers: {}, body: '{}' })).toMatchObject({ data: { job_id: id } });
  });

  test('goes to no address but public ones, and only where webhooks are configured', async () => {
    const plain = await startServiceProcess();
    const ask = async (service: typeof plain, url: string) => {
      const body = JSON.stringify({ prompt: 'say: hello', webhook: { url } });
      return (await service.fetch('/execute', { method: 'POST', body })).status;
    };
    expect(await ask(plain, 'https://example.org/hook')).toBe(400);
    const service = await startServiceProcess({
      env: { WEBHOOK_SECRET: secret, WEBHOOK_ALLOWED_HOSTS: 'hooks.internal' },
    });
    for (const url of ['http://example.org/', 'https://127.0.0.1/', 'https://[::1]/', 'https://[::ffff:10.0.0.1]/']) {
      expect([url, await ask(service, url)]).toEqual([url, 400]);
    }
    for (const url of [
      'https://2130706433/',
      'https://169.254.169.254/',
      'https://a:b@example.org/',
      'ftp://x/',
      'x',
    ]) {
      expect([url, await ask(service, url)]).toEqual([url, 400]);
    }
    expect(await (await service.fetch('/webhooks/dead')).json()).toEqual({ deliveries: [] });
    expect((await service.fetch('/webhooks/msg_unknown/resend', { method: 'POST' })).status).toBe(404);
  });
});
