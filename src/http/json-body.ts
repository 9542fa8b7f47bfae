import { isUtf8 } from 'node:buffer';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { ProblemError } from './errors.ts';
import { hasBody } from './request-framing.ts';

/** Deepest nesting of a request body: metadata may be 32 deep, and a tool's JSON schema is deeper than that only to do harm. */
const maxDepth = 64;
/** Each takes about two microseconds of the event loop, and no conversation has nearly as many. Those in strings do not count. */
const maxValues = 100_000;

/** JSON is UTF-8 (RFC 8259); ASCII is a part of it. In another charset the same bytes would be another prompt. */
const charsets = ['utf-8', 'utf8', 'us-ascii'];

declare module 'fastify' {
  interface FastifyRequest {
    /** What came, of a request whose body was JSON; else empty. */
    jsonText: string;
  }
}

/** Reads JSON bodies: UTF-8 or nothing (a replaced byte would change a prompt), and refused by depth and number of values before they are parsed. */
export function useJsonBodies(app: FastifyInstance): void {
  app.removeAllContentTypeParsers();
  app.decorateRequest('jsonText', '');
  app.addHook('onRequest', (request, _reply, done) => {
    // Some clients send a type with every POST: where nothing is taken and nothing came, it means nothing.
    if (request.routeOptions.schema?.body === undefined && !hasBody(request)) delete request.headers['content-type'];
    done();
  });
  app.addContentTypeParser('application/json', { parseAs: 'buffer' }, (request, body, done) => {
    try {
      const refusal = encodingRefusal(request.headers);
      if (refusal !== undefined) throw new ProblemError({ code: 'unsupported_media_type', detail: refusal });
      // An empty body is an absent one: clients send the header with every POST.
      if (body.length === 0) return done(null, undefined);
      const text = textOf(asBuffer(body));
      request.jsonText = text;
      done(null, parseJson(text));
    } catch (error) {
      done(error instanceof Error ? error : new Error('body could not be read', { cause: error }), undefined);
    }
  });
}

function encodingRefusal(headers: FastifyRequest['headers']): string | undefined {
  const encoding = headers['content-encoding'];
  if (encoding !== undefined && encoding.toLowerCase() !== 'identity') return 'Compressed bodies are not accepted';
  const charset = /;\s*charset\s*=\s*"?([^";\s]*)/i.exec(headers['content-type'] ?? '')?.[1]?.toLowerCase();
  return charset === undefined || charsets.includes(charset) ? undefined : 'The charset must be utf-8';
}

function textOf(body: Buffer): string {
  if (!isUtf8(body)) throw malformed('The request body is not UTF-8');
  const { depth, commas } = extent(body);
  if (depth > maxDepth) throw malformed(`The request body is nested more than ${maxDepth} deep`);
  if (commas >= maxValues) throw malformed(`The request body holds more than ${maxValues} values`);
  // A byte order mark is not JSON, but some clients send one.
  return body.toString('utf8').replace(/^\uFEFF/, '');
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    if (error instanceof SyntaxError) throw malformed('The request body is not valid JSON');
    throw error;
  }
}

/** How deep arrays and objects are nested, and how many values follow another; strings left out. Stops counting past a limit. */
function extent(json: Buffer): { readonly depth: number; readonly commas: number } {
  let depth = 0;
  let deepest = 0;
  let commas = 0;
  for (let at = 0; at < json.length && deepest <= maxDepth && commas < maxValues; at += 1) {
    const byte = json[at];
    if (byte === 0x22) at = endOfString(json, at);
    else if (byte === 0x7b || byte === 0x5b) deepest = Math.max(deepest, ++depth);
    else if (byte === 0x7d || byte === 0x5d) depth -= 1;
    else if (byte === 0x2c) commas += 1;
  }
  return { depth: deepest, commas };
}

/** The index of the quote that closes the string opened at `start`; the end of the text if none does. */
function endOfString(json: Buffer, start: number): number {
  for (let quote = json.indexOf(0x22, start + 1); quote !== -1; quote = json.indexOf(0x22, quote + 1)) {
    let slashes = 0;
    while (json[quote - 1 - slashes] === 0x5c) slashes += 1;
    if (slashes % 2 === 0) return quote;
  }
  return json.length;
}

function malformed(detail: string): ProblemError {
  return new ProblemError({ code: 'invalid_request', detail, errors: [{ path: '', message: detail, missing: false }] });
}

function asBuffer(body: string | Buffer): Buffer {
  return typeof body === 'string' ? Buffer.from(body) : body;
}
