import { createHmac } from 'node:crypto';
import { request as httpRequest } from 'node:http';
import { request as httpsRequest } from 'node:https';
import type { Delivery, PostWebhook } from '../jobs/webhooks.ts';
import { hasPrivateAddress, publicLookup } from './public-address.ts';

export interface WebhookSettings {
  /** The key of the signature, as bytes. */
  readonly secret: Buffer;
  /** Hosts, with the port where one is named, that may be private and be reached without TLS. */
  readonly allowed: readonly string[];
}

/** A receiver only has to note a message down: one that takes longer is asked again later. */
const timeoutMs = 5_000;

/** Posts messages signed by the Standard Webhooks (https://www.standardwebhooks.com). Redirects are failures. */
export function createWebhookClient({ secret, allowed }: WebhookSettings): PostWebhook {
  return async (delivery, now) => {
    const url = new URL(delivery.url);
    const reason = refusedUrl(delivery.url, allowed);
    if (reason !== null) throw new Error(reason);
    const timestamp = String(Math.floor(now / 1000));
    const headers = {
      'content-type': 'application/json',
      'content-length': Buffer.byteLength(delivery.body),
      'user-agent': 'agent-service',
      'webhook-id': delivery.id,
      'webhook-timestamp': timestamp,
      'webhook-signature': signature(secret, delivery, timestamp),
    };
    await send(url, headers, delivery.body, isAllowed(url, allowed));
  };
}

/** Why no webhook may go there, a phrase; null if it may. The addresses behind a name are looked at when it is sent. */
export function refusedUrl(text: string, allowed: readonly string[]): string | null {
  if (!URL.canParse(text)) return 'expected a URL';
  const url = new URL(text);
  if (url.username !== '' || url.password !== '') return 'a URL with a password is not accepted';
  if (url.protocol !== 'https:' && url.protocol !== 'http:') return 'expected an https URL';
  if (isAllowed(url, allowed)) return null;
  if (url.protocol !== 'https:') return 'expected an https URL';
  return hasPrivateAddress(url) ? 'a private address is not accepted' : null;
}

function isAllowed({ host, hostname }: URL, allowed: readonly string[]): boolean {
  return allowed.includes(host) || allowed.includes(hostname);
}

function signature(secret: Buffer, { id, body }: Delivery, timestamp: string): string {
  return `v1,${createHmac('sha256', secret).update(`${id}.${timestamp}.${body}`).digest('base64')}`;
}

async function send(
  url: URL,
  headers: Record<string, string | number>,
  body: string,
  anywhere: boolean,
): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const options = {
    ...{ method: 'POST', headers, agent: false as const, signal: AbortSignal.timeout(timeoutMs) },
    ...(!anywhere && { lookup: publicLookup }),
  };
  const request = (url.protocol === 'https:' ? httpsRequest : httpRequest)(url, options, (response) => {
    const status = response.statusCode ?? 0;
    // What it says besides is of no use, and may be endless.
    response.destroy();
    if (status >= 200 && status < 300) resolve();
    else reject(new Error(`the receiver answered ${status}`));
  });
  request.on('error', (error) => reject(new Error(phraseOf(error), { cause: error })));
  request.end(body);
  await promise;
}

/** Errors of the network name addresses and files of this machine: callers are told in words. */
function phraseOf(error: Error): string {
  if (error.name === 'TimeoutError' || error.name === 'AbortError')
    return `no answer within ${timeoutMs / 1000} seconds`;
  const code = 'code' in error ? error.code : null;
  if (code === 'PRIVATE_ADDRESS') return 'a private address is not accepted';
  if (code === 'ENOTFOUND' || code === 'EAI_AGAIN') return 'the name of the receiver could not be resolved';
  if (code === 'ECONNREFUSED') return 'the receiver refused the connection';
  return 'the connection to the receiver failed';
}
