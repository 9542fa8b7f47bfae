import { randomUUID } from 'node:crypto';

/** The id of a request: what the caller sent as `x-request-id` if it can do no harm in a log, else a new one. */
export function requestId(request: { readonly headers: Readonly<Record<string, unknown>> }): string {
  const sent = request.headers['x-request-id'];
  return typeof sent === 'string' && /^[A-Za-z0-9_.:-]{1,128}$/.test(sent) ? sent : newRequestId();
}

export function newRequestId(): string {
  // Node keeps a store of random bytes for these: fetching some for each costs as much as parsing the request.
  return `req_${randomUUID().replaceAll('-', '')}`;
}
