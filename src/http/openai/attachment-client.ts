import type { IncomingMessage } from 'node:http';
import { request } from 'node:https';
import type { LookupFunction } from 'node:net';
import { hasPrivateAddress, publicLookup } from '../public-address.ts';
import { attached } from './attachments.ts';

export interface AttachmentClientOptions {
  /** Names of hosts, with the port where it is not 443. */
  readonly hosts: readonly string[];
  /** Of one attachment, in bytes. */
  readonly maxBytes: number;
  readonly timeoutMs?: number;
  /** For all of one request together. */
  readonly requestTimeoutMs?: number;
  /** Replaces the check of addresses and the roots of trust: for a server that is not of the public Internet. */
  readonly connection?: { readonly lookup: LookupFunction; readonly ca: string };
}

export interface AttachmentClient {
  /** True where the URL may be fetched. Others stay what they are: refused. */
  isAllowed(url: string): boolean;
  /** How long all of one request may take together. */
  readonly requestTimeoutMs: number;
  /** The content as a `data:` URL. Rejects with `AttachmentError`. */
  fetch(url: string, signal: AbortSignal): Promise<string>;
}

/** The message is a phrase for the caller. */
export class AttachmentError extends Error {
  constructor(message: string, cause?: unknown) {
    super(message, { cause });
    this.name = 'AttachmentError';
  }
}

/** A picture of some megabytes comes within a second; the caller has not been answered yet. */
const defaultTimeoutMs = 10_000;
/** Its caller waits without an answer, and holds a connection that nothing has admitted yet. */
const defaultRequestTimeoutMs = 30_000;

/** Fetches what callers name by URL: over https, from hosts that the operator listed, at public addresses. Redirects are failures. */
export function createAttachmentClient(options: AttachmentClientOptions): AttachmentClient {
  const { hosts, maxBytes, timeoutMs = defaultTimeoutMs, connection } = options;
  return {
    requestTimeoutMs: options.requestTimeoutMs ?? defaultRequestTimeoutMs,
    isAllowed(text) {
      if (!URL.canParse(text)) return false;
      const url = new URL(text);
      const isPlain = url.protocol === 'https:' && url.username === '' && url.password === '';
      return isPlain && hosts.includes(url.host) && !hasPrivateAddress(url);
    },
    async fetch(text, signal) {
      const timeout = AbortSignal.timeout(timeoutMs);
      try {
        return await get(new URL(text), maxBytes, AbortSignal.any([signal, timeout]), connection);
      } catch (error) {
        if (error instanceof AttachmentError) throw error;
        const isLate = timeout.aborted || signal.aborted;
        throw new AttachmentError(isLate ? 'it took too long' : phraseOf(error), error);
      }
    },
  };
}

async function get(
  url: URL,
  maxBytes: number,
  signal: AbortSignal,
  connection: AttachmentClientOptions['connection'],
): Promise<string> {
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  const headers = { 'user-agent': 'agent-service', accept: '*/*', 'accept-encoding': 'identity' };
  const options = { headers, agent: false as const, signal, ...(connection ?? { lookup: publicLookup }) };
  const sent = request(url, options, (response) => {
    const mediaType = (response.headers['content-type'] ?? '').split(';', 1)[0]?.trim().toLowerCase() ?? '';
    const refusal = refusalOf(response, mediaType);
    if (refusal !== null) {
      response.destroy();
      return reject(new AttachmentError(refusal));
    }
    const chunks: Buffer[] = [];
    let size = 0;
    response.on('data', (chunk: Buffer) => {
      size += chunk.length;
      if (size <= maxBytes) return void chunks.push(chunk);
      response.destroy();
      reject(new AttachmentError(`it is longer than ${maxBytes} bytes`));
    });
    response.on('error', reject);
    response.on('end', () => resolve(`data:${mediaType};base64,${Buffer.concat(chunks).toString('base64')}`));
  });
  sent.on('error', reject);
  sent.end();
  return await promise;
}

/** Why the content is not taken; null if it is. A redirect could lead anywhere. */
function refusalOf({ statusCode, headers }: IncomingMessage, mediaType: string): string | null {
  if (statusCode !== 200) return `its host answered ${statusCode}`;
  if ((headers['content-encoding'] ?? 'identity') !== 'identity') return 'its encoding is not supported';
  return attached(mediaType, '') === null ? 'its media type is not supported' : null;
}

/** Errors of the network name addresses: callers are told in words. */
function phraseOf(error: unknown): string {
  const code = error instanceof Error && 'code' in error ? error.code : null;
  if (code === 'PRIVATE_ADDRESS') return 'its host has a private address';
  return 'its host could not be reached';
}
