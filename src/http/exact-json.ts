import type { JsonObject } from '../jobs/job.ts';

/**
 * JSON that is given back as it came. A number of JSON is not one of JavaScript: 12345678901234567890, 1e309 and 1.0 would come
 * back as others. An object with such numbers is kept as its own text, in an object of one key.
 */

// Node 24 has these, the compiler's library does not yet: https://github.com/tc39/proposal-json-parse-with-source
declare global {
  interface JSON {
    parse(
      text: string,
      reviver: (key: string, value: unknown, context: { readonly source?: string }) => unknown,
    ): unknown;
    rawJSON(text: string): object;
  }
}

const textKey = '\u0000json';

/** `text`: JSON of an object, of which JavaScript makes `parsed`. Answers plain values, for the store. */
export function keepExact(parsed: JsonObject, text: string): JsonObject {
  return text === JSON.stringify(parsed) && keptText(parsed) === undefined ? parsed : { [textKey]: text };
}

/** What `keepExact` kept, in a form that `JSON.stringify` writes as it came. */
export function showExact(kept: JsonObject): JsonObject {
  const text = keptText(kept);
  return text === undefined ? kept : (parseExact(text) as JsonObject);
}

/** The text of one field of an object in JSON, without blanks; undefined where there is none. */
export function exactField(json: string, field: string): string | undefined {
  const value = parseExact(json);
  const isObject = typeof value === 'object' && value !== null;
  return isObject ? JSON.stringify(Object.getOwnPropertyDescriptor(value, field)?.value) : undefined;
}

function keptText(object: JsonObject): string | undefined {
  const text = object[textKey];
  return typeof text === 'string' && Object.keys(object).length === 1 ? text : undefined;
}

function parseExact(json: string): unknown {
  return JSON.parse(json, (_key, value, { source }) =>
    typeof value === 'number' && source !== undefined && source !== String(value) ? JSON.rawJSON(source) : value,
  );
}
