import type { FastifyInstance, FastifyRequest } from 'fastify';
import { ProblemError } from './errors.ts';

/** How long an answer waits for the rest of a body that nobody wants, since its last byte, and in all. */
const quietMs = 300;
const discardMs = 5_000;

/**
 * Refuses requests that two readers could take for two different ones, and reads what is left of a refused body before the
 * answer: a client that is cut off while it sends does not see why.
 */
export function useRequestFraming(app: FastifyInstance): void {
  app.addHook('onRequest', (request, _reply, done) => {
    const fault = framingFault(request);
    if (fault === undefined) return done();
    done(new ProblemError({ code: 'invalid_request', detail: fault, headers: { connection: 'close' } }));
  });
  app.addHook('onSend', (request, _reply, _payload, done) => {
    if (hasBody(request) && !request.raw.readableEnded && !request.raw.destroyed) discardBody(request, done);
    else done();
  });
}

/** How often a header was sent: Node keeps one of several. */
export function countHeader({ raw }: FastifyRequest, name: string): number {
  const { rawHeaders } = raw;
  let count = 0;
  for (let at = 0; at < rawHeaders.length; at += 2) {
    const sent = rawHeaders[at] ?? '';
    if (sent.length === name.length && sent.toLowerCase() === name) count += 1;
  }
  return count;
}

/** True where a body was announced, be it empty. */
export function hasBody({ headers }: FastifyRequest): boolean {
  const length = headers['content-length'];
  return headers['transfer-encoding'] !== undefined || (length !== undefined && length !== '0');
}

function framingFault(request: FastifyRequest): string | undefined {
  const hosts = countHeader(request, 'host');
  if (hosts > 1 || (hosts === 0 && request.raw.httpVersion === '1.1')) return 'There must be one Host header';
  const coding = request.headers['transfer-encoding'];
  if (coding !== undefined && coding.toLowerCase() !== 'chunked') return 'The only transfer coding is chunked';
  return undefined;
}

function discardBody({ raw }: FastifyRequest, done: () => void): void {
  let quiet: NodeJS.Timeout | undefined;
  const stop = (): void => {
    clearTimeout(quiet);
    clearTimeout(late);
    for (const event of ['end', 'close', 'error']) raw.off(event, stop);
    raw.off('data', wait);
    done();
  };
  const wait = (): void => {
    clearTimeout(quiet);
    quiet = setTimeout(stop, quietMs);
  };
  const late = setTimeout(stop, discardMs);
  for (const event of ['end', 'close', 'error']) raw.once(event, stop);
  raw.on('data', wait);
  raw.resume();
  wait();
}
