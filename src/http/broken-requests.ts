import { type IncomingMessage, type Server, type ServerResponse, STATUS_CODES } from 'node:http';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { type Problem, problemBody, statusOf } from './errors.ts';
import { isOpenAiPath, openAiError } from './openai/errors.ts';
import { originForm } from './origin-form.ts';
import { newRequestId } from './request-id.ts';

/** What Node's parser throws: with the bytes at which it gave up. */
interface BrokenRequestError extends NodeJS.ErrnoException {
  readonly rawPacket?: unknown;
}

/** Answers what never becomes a request of the framework, in the shape of all other answers. */
export interface BrokenRequests {
  /** For bytes that are not HTTP, or came too slowly. */
  readonly answer: (error: BrokenRequestError, socket: Socket) => void;
  /** Call once, before the server listens. */
  readonly watch: (server: Server) => void;
}

/** After its last answer a connection is kept so long: cut at once, the answer may be lost with what was still on its way. */
const lingerMs = 1_000;
/** As much of what was refused as can tell whose words the answer should be in. */
const requestLineBytes = 200;

export function createBrokenRequests(): BrokenRequests {
  const newest = new WeakMap<Duplex, ServerResponse>();
  const refused = new WeakSet<Duplex>();

  /** Ends a connection with an answer written by hand. */
  function end(socket: Duplex, problem: Problem, path: string): void {
    if (!socket.writable) return void socket.destroy();
    const timer = setTimeout(() => socket.destroy(), lingerMs);
    socket.once('close', () => clearTimeout(timer));
    socket.end(answerText(problem, path));
  }

  return {
    answer(error, socket) {
      // More of what was refused already: the answer is on its way.
      if (refused.has(socket)) return;
      refused.add(socket);
      if (error.code === 'ECONNRESET' || !socket.writable) return void socket.destroy();
      const problem = problemOf(error.code);
      const response = newest.get(socket);
      if (response === undefined || (response.req.complete && response.writableFinished)) {
        return end(socket, problem, pathIn(error));
      }
      // An answer comes in the place of its request: what was asked before, whole, is answered before.
      if (response.req.complete) return void response.once('close', () => end(socket, problem, pathIn(error)));
      // The rest of a request that has its answer, or the beginning of it.
      if (response.headersSent) return void socket.destroy();
      end(socket, problem, response.req.url ?? '');
    },
    watch(server) {
      server.prependListener('request', (request: IncomingMessage, response: ServerResponse) => {
        newest.set(request.socket, response);
      });
      // Node would answer an expectation that it does not know by itself; leaving it unmet is as good (RFC 9110, 10.1.1).
      server.on('checkExpectation', (request, response) => server.emit('request', request, response));
      server.on('connect', (_request, socket) => {
        socket.on('error', () => socket.destroy());
        end(socket, notAProxy, '');
      });
      // A client may say that it sends no more and still wait for its answer. Not in Node's documentation, but as old as its server.
      Object.assign(server, { httpAllowHalfOpen: true });
    },
  };
}

const notAProxy: Problem = {
  code: 'method_not_allowed',
  detail: 'This is not a proxy',
  headers: { allow: 'GET, HEAD, POST' },
};

function problemOf(code: string | undefined): Problem {
  switch (code) {
    case 'HPE_HEADER_OVERFLOW':
      return { code: 'headers_too_large', detail: 'The request headers are too large' };
    case 'ERR_HTTP_REQUEST_TIMEOUT':
      return { code: 'request_timeout', detail: 'The request took too long to arrive' };
    default:
      return { code: 'invalid_request', detail: 'The request is not valid HTTP' };
  }
}

/** The path of a request that the parser gave up on; empty where there is none. */
function pathIn(error: BrokenRequestError): string {
  const { rawPacket } = error;
  const start = Buffer.isBuffer(rawPacket) ? rawPacket.toString('latin1', 0, requestLineBytes) : '';
  return originForm(/^[A-Z]+ (\S+)/.exec(start)?.[1] ?? '');
}

function answerText(problem: Problem, path: string): string {
  const id = newRequestId();
  const status = statusOf[problem.code];
  const openAi = isOpenAiPath(path) ? openAiError(problem) : undefined;
  const text = JSON.stringify(openAi?.body ?? problemBody(problem, id));
  const headers = {
    'content-type': openAi === undefined ? 'application/problem+json' : 'application/json; charset=utf-8',
    'x-request-id': id,
    // What could not be read took no time to answer.
    ...(openAi !== undefined && { 'openai-processing-ms': '0' }),
    'content-length': Buffer.byteLength(text),
    connection: 'close',
    ...(openAi ?? problem).headers,
  };
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`);
  return `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? 'Error'}\r\n${lines.join('')}\r\n${text}`;
}
