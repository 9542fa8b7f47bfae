import type { Json, JsonObject } from '../../jobs/job.ts';
import { badRequest, type OpenAiError } from './errors.ts';

/**
 * The claude CLI checks answers by draft 07, strictly: a schema with one word that it does not know is dropped without a word,
 * and the answer is then any text, paid for. So a schema is brought into the form that it takes, or refused before it costs.
 */

/** Where in the request a value stands, and the schema around it, for references. */
interface Place {
  readonly param: string;
  readonly root: unknown;
}
type Read = (value: unknown, place: Place) => Json;

/** Constraints of later drafts that the CLI cannot check: leaving them out would change what was asked. */
const refused = new Set([
  ...['unevaluatedProperties', 'unevaluatedItems', 'dependentRequired', 'dependentSchemas', 'minContains'],
  ...['maxContains', '$dynamicRef', '$recursiveRef', '$anchor', '$dynamicAnchor'],
]);

const typeNames = new Set<unknown>(['object', 'array', 'string', 'number', 'integer', 'boolean', 'null']);
const integers = ['minLength', 'maxLength', 'minItems', 'maxItems', 'minProperties', 'maxProperties'];
const numbers = ['minimum', 'maximum', 'exclusiveMinimum', 'exclusiveMaximum'];

const keywords: ReadonlyMap<string, Read> = new Map<string, Read>([
  ['type', readType],
  ['enum', (value, place) => distinct(list(value, place))],
  ['const', json],
  ['default', json],
  ['examples', list],
  ['$ref', readReference],
  ['pattern', readPattern],
  ['required', (value, place) => distinct(list(value, place).map((name, i) => text(name, item(place, i))))],
  ['items', (value, place) => (Array.isArray(value) ? schemas(value, place) : schema(value, place))],
  [
    'dependencies',
    (value, place) => each(value, place, (one, at) => (Array.isArray(one) ? one.map(json) : schema(one, at))),
  ],
  [
    'multipleOf',
    (value, place) => (typeof value === 'number' && value > 0 ? value : wrong(place, 'a positive number')),
  ],
  ['uniqueItems', (value, place) => (typeof value === 'boolean' ? value : wrong(place, 'a boolean'))],
  ...['properties', 'patternProperties', '$defs', 'definitions'].map((name) => [name, readMap] as const),
  ...['additionalProperties', 'propertyNames', 'contains', 'not'].map((name) => [name, schema] as const),
  ...['anyOf', 'oneOf', 'allOf'].map((name) => [name, schemas] as const),
  ...integers.map((name) => [name, readCount] as const),
  ...numbers.map((name) => [name, readNumber] as const),
  ...['format', 'title', 'description', '$comment'].map((name) => [name, text] as const),
]);

/** The schema of an object in the form that the agent takes. Throws `OpenAiError` (400) that names the place. */
export function agentSchema(value: unknown, param: string): JsonObject {
  const place = { param, root: value };
  if (!isRecord(value)) throw error(place, 'expected a JSON Schema');
  const { type = 'object' } = value;
  if (type !== 'object' || (value['type'] === undefined && ['anyOf', 'oneOf', '$ref'].some((key) => key in value)))
    throw error({ ...place, param: `${param}.type` }, 'must be "object": the answer is a JSON object');
  return { ...readObject(value, place), type: 'object' };
}

function schema(value: unknown, place: Place): Json {
  if (typeof value === 'boolean') return value;
  return isRecord(value) ? readObject(value, place) : wrong(place, 'a JSON Schema');
}

/** What is no word of JSON Schema means nothing, by its specification: it is left out. */
function readObject(value: Readonly<Record<string, unknown>>, place: Place): JsonObject {
  const entries = Object.entries(value).flatMap(([key, one]): readonly (readonly [string, Json])[] => {
    const at = { ...place, param: `${place.param}.${key}` };
    if (refused.has(key)) throw error(at, `"${key}" is not supported`, 'unsupported_value');
    const read = keywords.get(key);
    return read === undefined ? [] : [[key, read(one, at)]];
  });
  return Object.fromEntries([...entries, ...tuple(value, place), ...nullable(value)]);
}

/** A tuple as draft 07 writes it. */
function tuple(value: Readonly<Record<string, unknown>>, place: Place): readonly (readonly [string, Json])[] {
  const { prefixItems, items, additionalItems } = value;
  if (prefixItems === undefined)
    return Array.isArray(items) && additionalItems !== undefined
      ? [['additionalItems', schema(additionalItems, { ...place, param: `${place.param}.additionalItems` })]]
      : [];
  const first = schemas(prefixItems, { ...place, param: `${place.param}.prefixItems` });
  const rest = items === undefined ? [] : [['additionalItems', schema(items, place)] as const];
  return [['items', first], ...rest];
}

/** A word of OpenAPI, which the CLI takes beside a type only. */
function nullable(value: Readonly<Record<string, unknown>>): readonly (readonly [string, Json])[] {
  return value['nullable'] === true && value['type'] !== undefined ? [['nullable', true]] : [];
}

function schemas(value: unknown, place: Place): readonly Json[] {
  const all = list(value, place);
  return all.length === 0 ? wrong(place, 'at least one schema') : all.map((one, i) => schema(one, item(place, i)));
}

function readMap(value: unknown, place: Place): JsonObject {
  return each(value, place, schema);
}

function each(value: unknown, place: Place, read: Read): JsonObject {
  if (!isRecord(value)) return wrong(place, 'an object');
  const entries = Object.entries(value).map(
    ([key, one]) => [key, read(one, { ...place, param: `${place.param}.${key}` })] as const,
  );
  return Object.fromEntries(entries);
}

function readType(value: unknown, place: Place): Json {
  const names = Array.isArray(value) ? list(value, place) : [value];
  if (names.length === 0 || !names.every((name) => typeNames.has(name))) return wrong(place, 'a type of JSON Schema');
  return Array.isArray(value) ? distinct(value.map(json)) : json(value);
}

function readReference(value: unknown, place: Place): Json {
  const path = text(value, place);
  if (!/^#(?:\/|$)/.test(path))
    throw error(place, 'only references within the schema are supported', 'unsupported_value');
  let target = place.root;
  for (const part of path.split('/').slice(1)) {
    const key = decode(part, place);
    target =
      (isRecord(target) || Array.isArray(target)) && Object.hasOwn(target, key) ? Reflect.get(target, key) : undefined;
  }
  return target === undefined ? wrong(place, 'a reference to a part of the schema') : path;
}

function decode(part: string, place: Place): string {
  try {
    return decodeURIComponent(part).replaceAll('~1', '/').replaceAll('~0', '~');
  } catch (cause) {
    if (cause instanceof URIError) return wrong(place, 'a reference to a part of the schema');
    throw cause;
  }
}

function readPattern(value: unknown, place: Place): Json {
  const pattern = text(value, place);
  try {
    // As the CLI compiles it.
    return new RegExp(pattern, 'u').source === '' ? '' : pattern;
  } catch (cause) {
    if (cause instanceof SyntaxError) return wrong(place, 'a regular expression (of JavaScript, with the flag u)');
    throw cause;
  }
}

function readCount(value: unknown, place: Place): Json {
  return Number.isSafeInteger(value) && typeof value === 'number' && value >= 0
    ? value
    : wrong(place, 'a whole number, not negative');
}

function readNumber(value: unknown, place: Place): Json {
  return typeof value === 'number' ? value : wrong(place, 'a number');
}

function text(value: unknown, place: Place): string {
  return typeof value === 'string' ? value : wrong(place, 'a string');
}

function list(value: unknown, place: Place): readonly Json[] {
  return Array.isArray(value) ? value.map(json) : wrong(place, 'an array');
}

/** The body was JSON, so all in it is. */
function json(value: unknown): Json {
  return value as Json;
}

function distinct(values: readonly Json[]): readonly Json[] {
  return [...new Map(values.map((value) => [JSON.stringify(value), value])).values()];
}

function item(place: Place, index: number): Place {
  return { ...place, param: `${place.param}[${index}]` };
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function wrong(place: Place, expected: string): never {
  throw error(place, `expected ${expected}`);
}

/** A path is the caller's: of a long one the beginning is shown. */
const shownPathCharacters = 200;

function error({ param }: Place, message: string, code = 'invalid_value'): OpenAiError {
  const path = param.slice(0, shownPathCharacters);
  return badRequest(`${path}: ${message}`, path, code);
}
