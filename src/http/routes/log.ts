import { Readable } from 'node:stream';
import type { FastifyReply } from 'fastify';
import { z } from 'zod';
import { logSources, type RawLog } from '../../jobs/run-log.ts';
import type { AppDeps, TypedApp } from '../app.ts';
import { type ByteRange, byteRange } from '../byte-range.ts';
import { ProblemError } from '../errors.ts';
import { errorResponses, notFoundResponse, problemResponse, unavailableResponse } from '../schemas.ts';
import { whenCut } from '../when-closed.ts';

const query = z.object({
  stream: z.enum(logSources).default('stdout').describe('Which of the two outputs'),
  follow: z
    .enum(['0', '1'])
    .default('0')
    .transform((text) => text === '1')
    .describe('1: also what is printed from now on, until the run is over'),
});
const text = { content: { 'text/plain': { schema: z.string() } } };

/** `GET /jobs/:id/log`: what the agent CLI printed, byte for byte. */
export function logRoutes(app: TypedApp, { jobs }: AppDeps): void {
  app.route({
    method: 'GET',
    url: '/jobs/:id/log',
    schema: {
      summary: 'Read the raw output of a job',
      description:
        'Byte for byte as the agent CLI printed it so far. One `Range` of bytes is honoured; not with `follow`.',
      tags: ['jobs'],
      params: z.object({ id: z.string() }),
      querystring: query,
      response: {
        200: { description: 'The output', ...text },
        206: { description: 'The bytes asked for', ...text },
        ...errorResponses,
        ...notFoundResponse,
        ...problemResponse(416, 'The output is shorter than that; `content-range` tells how long it is'),
        ...unavailableResponse,
      },
    },
    handler: async ({ params: { id }, query: { stream, follow }, headers }, reply) => {
      const signal = whenCut(reply.raw);
      const log = await jobs.log(id, stream, follow ? signal : null);
      reply.header('content-type', 'text/plain; charset=utf-8').header('x-content-type-options', 'nosniff');
      if (follow) return await send(reply, log, 0, null, signal);
      reply.header('accept-ranges', 'bytes');
      // There is no validator that `If-Range` could name: its condition is false (RFC 9110, section 13.1.5).
      const range = headers['if-range'] === undefined ? byteRange(headers.range, log.size) : null;
      if (range === 'unsatisfiable') {
        await log[Symbol.asyncDispose]();
        throw unsatisfiable(log.size);
      }
      return await sendPart(reply, log, range, signal);
    },
  });
}

async function sendPart(
  reply: FastifyReply,
  log: RawLog,
  range: ByteRange | null,
  signal: AbortSignal,
): Promise<FastifyReply> {
  const { start, end } = range ?? { start: 0, end: log.size };
  if (range !== null) reply.code(206).header('content-range', `bytes ${start}-${end - 1}/${log.size}`);
  reply.header('content-length', end - start);
  return await send(reply, log, start, end, signal);
}

/** The log is read as fast as the caller takes it. */
async function send(
  reply: FastifyReply,
  log: RawLog,
  start: number,
  end: number | null,
  signal: AbortSignal,
): Promise<FastifyReply> {
  async function* bytes(): AsyncGenerator<Buffer> {
    try {
      yield* log.read(start, end, signal);
    } finally {
      await log[Symbol.asyncDispose]();
    }
  }
  return await reply.send(Readable.from(bytes(), { objectMode: false, highWaterMark: 64 * 1024 }));
}

function unsatisfiable(size: number): ProblemError {
  return new ProblemError({
    code: 'range_not_satisfiable',
    detail: `The output has ${size} bytes now`,
    headers: { 'content-range': `bytes */${size}` },
  });
}
