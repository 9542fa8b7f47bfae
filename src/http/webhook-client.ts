import { createHmac } from 'node:crypto';
import { lookup as resolveName } from 'node:dns';
import { request as httpRequest } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { BlockList, isIP, type LookupFunction } from 'node:net';
import type { Delivery, PostWebhook } from '../jobs/webhooks.ts';

export interface WebhookSettings {
  /** The key of the signature, as bytes. */
  readonly secret: Buffer;
  /** Hosts, with the port where one is named, that may be private and be reached without TLS. */
  readonly allowed: readonly string[];
}

/** A receiver only has to note a message down: one that takes longer is asked again later. */
const timeoutMs = 5_000;

/** Addresses that are not of the public Internet: a caller must not reach through us what it cannot reach itself. */
const privateAddresses = blockList();

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
  return isPrivate(bareHost(url)) ? 'a private address is not accepted' : null;
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

/** The check and the connection use the same answer: a name cannot lead elsewhere in between. */
const publicLookup: LookupFunction = (hostname, options, callback) => {
  resolveName(hostname, { ...options, all: true }, (error, addresses) => {
    const [first] = addresses ?? [];
    if (error !== null || first === undefined) return callback(error ?? new Error('no address'), '');
    if (addresses.some(({ address }) => isPrivate(address))) return callback(new PrivateAddressError(), '');
    if (options.all === true) callback(null, addresses);
    else callback(null, first.address, first.family);
  });
};

class PrivateAddressError extends Error {
  readonly code = 'PRIVATE_ADDRESS';
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

function bareHost({ hostname }: URL): string {
  return hostname.replace(/^\[|\]$/g, '');
}

function isPrivate(address: string): boolean {
  const family = isIP(address);
  return family !== 0 && privateAddresses.check(address, family === 6 ? 'ipv6' : 'ipv4');
}

/** The special-purpose registries of IANA: https://www.iana.org/assignments/iana-ipv4-special-registry */
function blockList(): BlockList {
  const list = new BlockList();
  const v4 = ['0.0.0.0/8', '10.0.0.0/8', '100.64.0.0/10', '127.0.0.0/8', '169.254.0.0/16', '172.16.0.0/12'];
  const more4 = ['192.0.0.0/24', '192.0.2.0/24', '192.88.99.0/24', '192.168.0.0/16', '198.18.0.0/15'];
  const rest4 = ['198.51.100.0/24', '203.0.113.0/24', '224.0.0.0/4', '240.0.0.0/4'];
  const v6 = ['::/128', '::1/128', '64:ff9b::/96', '64:ff9b:1::/48', '100::/64', '2001::/23', '2001:db8::/32'];
  const more6 = ['2002::/16', '3fff::/20', '5f00::/16', 'fc00::/7', 'fe80::/10', 'fec0::/10', 'ff00::/8'];
  const add = (family: 'ipv4' | 'ipv6') => (range: string) => {
    const [address = '', prefix = ''] = range.split('/');
    list.addSubnet(address, Number(prefix), family);
  };
  [...v4, ...more4, ...rest4].forEach(add('ipv4'));
  [...v6, ...more6].forEach(add('ipv6'));
  return list;
}
