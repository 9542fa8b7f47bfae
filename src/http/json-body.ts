import { isUtf8 } from 'node:buffer';
import type { FastifyInstance } from 'fastify';
import { ProblemError } from './errors.ts';

/** Deepest nesting of a request body: metadata may be 32 deep, and a tool's JSON schema is deeper than that only to do harm. */
const maxDepth = 64;

/** Reads JSON bodies: UTF-8 or nothing (a replaced byte would change a prompt), and refused by depth before they are parsed. */
export function useJsonBodies(app: FastifyInstance): void {
  app.removeAllContentTypeParsers();
  app.addContentTypeParser('application/json', { parseAs: 'buffer' }, (request, body, done) => {
    try {
      const encoding = request.headers['content-encoding'];
      if (encoding !== undefined && encoding !== 'identity') {
        throw new ProblemError({ code: 'unsupported_media_type', detail: 'Compressed bodies are not accepted' });
      }
      // An empty body is an absent one: clients send the header with every POST.
      done(null, body.length === 0 ? undefined : parseJson(asBuffer(body)));
    } catch (error) {
      done(error instanceof Error ? error : new Error('body could not be read', { cause: error }), undefined);
    }
  });
}

function parseJson(body: Buffer): unknown {
  if (!isUtf8(body)) throw malformed('The request body is not UTF-8');
  if (nesting(body) > maxDepth) throw malformed(`The request body is nested more than ${maxDepth} deep`);
  try {
    // A byte order mark is not JSON, but some clients send one.
    return JSON.parse(body.toString('utf8').replace(/^\uFEFF/, ''));
  } catch (error) {
    if (error instanceof SyntaxError) throw malformed('The request body is not valid JSON');
    throw error;
  }
}

/** How deep arrays and objects are nested, brackets in strings left out; stops counting past the limit. */
function nesting(json: Buffer): number {
  let depth = 0;
  let deepest = 0;
  for (let at = 0; at < json.length && deepest <= maxDepth; at += 1) {
    const byte = json[at];
    if (byte === 0x22) at = endOfString(json, at);
    else if (byte === 0x7b || byte === 0x5b) deepest = Math.max(deepest, ++depth);
    else if (byte === 0x7d || byte === 0x5d) depth -= 1;
  }
  return deepest;
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
