import { z } from 'zod';
import type { AppDeps, TypedApp } from '../app.ts';
import { InvalidRequestError } from '../errors.ts';
import { streamJobEvents } from '../job-event-stream.ts';
import { errorResponses, notFoundResponse, unavailableResponse } from '../schemas.ts';
import { whenCut } from '../when-closed.ts';

const eventNumber = /^\d{1,15}$/;
const query = z.object({
  after: z
    .string()
    .regex(eventNumber, 'expected the number of an event')
    .transform(Number)
    .nullable()
    .default(null)
    .describe('Only events after this one; the header Last-Event-ID, if sent, counts instead'),
  deltas: z
    .enum(['0', '1'])
    .default('1')
    .transform((text) => text === '1')
    .describe('0: without the pieces of text that come live and unnumbered'),
});

/** `GET /jobs/:id/events`: the job's story, from any point of it, then live. */
export function eventRoutes(app: TypedApp, { jobs, eventCommentMs }: AppDeps): void {
  app.route({
    method: 'GET',
    url: '/jobs/:id/events',
    // Without a body there would be nothing to tell, until the job ends.
    exposeHeadRoute: false,
    schema: {
      summary: 'Read or follow the events of a job',
      description:
        'Server-sent events, numbered from 1 without gaps; the last is `end`. The format is in docs/events.md.',
      tags: ['jobs'],
      params: z.object({ id: z.string() }),
      querystring: query,
      response: {
        200: { description: 'The events', content: { 'text/event-stream': { schema: z.string() } } },
        204: z.undefined().describe('The job is final and all of its events were read'),
        ...errorResponses,
        ...notFoundResponse,
        ...unavailableResponse,
      },
    },
    handler: async ({ params: { id }, query: { after, deltas }, headers }, reply) => {
      const deps = { jobs, reply, signal: whenCut(reply.raw), commentMs: eventCommentMs };
      return await streamJobEvents(deps, { id, after: lastEventId(headers['last-event-id']) ?? after ?? 0, deltas });
    },
  });
}

/** An empty header is what an `EventSource` sends that has seen no event. */
function lastEventId(header: string | string[] | undefined): number | null {
  if (header === undefined || header === '') return null;
  if (typeof header === 'string' && eventNumber.test(header)) return Number(header);
  throw new InvalidRequestError([
    { path: 'Last-Event-ID', message: 'expected the number of an event', missing: false },
  ]);
}
