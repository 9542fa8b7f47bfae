import { randomFillSync } from 'node:crypto';

const idBytes = 16;

/** Random bytes are fetched for many ids at once: each fetch costs as much as parsing a request. Each byte is used once. */
const pool = Buffer.alloc(idBytes * 256);
let used = pool.length;

/** The id of a request: what the caller sent as `x-request-id` if it can do no harm in a log, else a new one. */
export function requestId(request: { readonly headers: Readonly<Record<string, unknown>> }): string {
  const sent = request.headers['x-request-id'];
  return typeof sent === 'string' && /^[A-Za-z0-9_.:-]{1,128}$/.test(sent) ? sent : newRequestId();
}

export function newRequestId(): string {
  if (used === pool.length) {
    randomFillSync(pool);
    used = 0;
  }
  used += idBytes;
  return `req_${pool.toString('hex', used - idBytes, used)}`;
}
