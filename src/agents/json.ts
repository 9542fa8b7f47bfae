import type { Json, JsonObject } from '../jobs/job.ts';

/** The JSON object on a line; null for anything else. Invalid UTF-8 becomes U+FFFD. */
export function parseObject(line: Buffer): JsonObject | null {
  try {
    const value: unknown = JSON.parse(line.toString('utf8'));
    return isObject(value) ? value : null;
  } catch {
    // An agent may print anything; what is not JSON says nothing.
    return null;
  }
}

export function objectAt(object: JsonObject | null, key: string): JsonObject | null {
  const value = valueAt(object, key);
  return isObject(value) ? value : null;
}

export function textAt(object: JsonObject | null, key: string): string | null {
  const value = valueAt(object, key);
  return typeof value === 'string' ? value : null;
}

/** Null also for what JSON writes as a number too large to be one. */
export function numberAt(object: JsonObject | null, key: string): number | null {
  const value = valueAt(object, key);
  return typeof value === 'number' && Number.isFinite(value) ? value : null;
}

export function listAt(object: JsonObject | null, key: string): readonly Json[] {
  const value = valueAt(object, key);
  return isList(value) ? value : [];
}

/** Own keys only: a key that every object inherits is not in the JSON. */
export function valueAt(object: JsonObject | null, key: string): Json | undefined {
  return object !== null && Object.hasOwn(object, key) ? object[key] : undefined;
}

/** Called on what JSON.parse made: an object there holds nothing but JSON. */
export function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isList(value: Json | undefined): value is readonly Json[] {
  return Array.isArray(value);
}
