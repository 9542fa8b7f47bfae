import { createHash } from 'node:crypto';
import type { Idempotency } from '../jobs/ports.ts';
import { InvalidRequestError } from './errors.ts';

const visibleAscii = /^[\x21-\x7e]{1,255}$/;

/** What the header `Idempotency-Key` asks for; undefined where it was not sent. Throws `InvalidRequestError`. */
export function idempotencyOf(header: string | string[] | undefined, body: unknown): Idempotency | undefined {
  if (header === undefined) return undefined;
  // Sent twice, Node joins the two by a comma and a space, which is not allowed either.
  if (typeof header !== 'string' || !visibleAscii.test(header)) {
    const message = 'expected 1 to 255 visible ASCII characters';
    throw new InvalidRequestError([{ path: 'Idempotency-Key', message, missing: false }]);
  }
  return { key: header, hash: createHash('sha256').update(canonical(body)).digest('hex') };
}

/**
 * JSON in which only the meaning counts: keys are sorted, and fields of the request that are null or false, as absent ones are,
 * are left out. So a field that a later version adds does not change the hash of a request that does not use it.
 */
function canonical(body: unknown): string {
  if (!isObject(body)) return sorted(body);
  return object(Object.entries(body).filter(([, value]) => value !== null && value !== false));
}

function sorted(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(sorted).join()}]`;
  return isObject(value) ? object(Object.entries(value)) : (JSON.stringify(value) ?? 'null');
}

function object(entries: readonly (readonly [string, unknown])[]): string {
  const members = entries.toSorted(([a], [b]) => (a < b ? -1 : 1));
  return `{${members.map(([key, value]) => `${JSON.stringify(key)}:${sorted(value)}`).join()}}`;
}

function isObject(value: unknown): value is object {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
