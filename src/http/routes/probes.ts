import { z } from 'zod';
import { cloneMethods, containmentLevels } from '../../jobs/job.ts';
import type { AppDeps, TypedApp } from '../app.ts';
import { problemBody } from '../errors.ts';
import { ErrorSchema } from '../schemas.ts';

const HealthSchema = z.object({
  status: z.literal('ok'),
  busy: z.boolean().describe('Every place is taken: a new job waits'),
  active: z.int(),
  queued: z.int(),
  capacity: z.int(),
  draining: z.boolean(),
  containment: z.enum(containmentLevels).describe('How the processes of a job are held together'),
  clones: z.enum(cloneMethods).describe('How the clone of a job is made: copied with shared blocks, copied, or by git'),
  version: z.string(),
});

/** How soon a prober that was told "not ready" may look again, in seconds. */
const retryAfterSeconds = '5';

/** The probes, open to all. Health and liveness answer from memory, whatever the store and the disk do. */
export function probeRoutes(app: TypedApp, { jobs, readiness, version, containment, cloneMethod }: AppDeps): void {
  app.route({
    method: 'GET',
    url: '/health',
    config: { public: true },
    schema: { summary: 'How busy the service is', tags: ['probes'], security: [], response: { 200: HealthSchema } },
    handler: () => {
      const { active, queued, capacity, draining } = jobs.stats();
      return {
        status: 'ok' as const,
        busy: active >= capacity,
        active,
        queued,
        capacity,
        draining,
        containment,
        clones: cloneMethod(),
        version,
      };
    },
  });

  app.route({
    method: 'GET',
    url: '/livez',
    config: { public: true },
    schema: {
      summary: 'Is the process alive',
      tags: ['probes'],
      security: [],
      response: { 200: z.object({ status: z.literal('ok') }) },
    },
    handler: () => ({ status: 'ok' as const }),
  });
  readinessRoute(app, readiness);
}

/** Ready means that a job submitted now would be run. Kubernetes sends no requests to a pod that is not. */
function readinessRoute(app: TypedApp, readiness: AppDeps['readiness']): void {
  app.route({
    method: 'GET',
    url: '/readyz',
    config: { public: true },
    schema: {
      summary: 'Can the service do its work',
      tags: ['probes'],
      security: [],
      response: {
        200: z.object({ status: z.literal('ok') }),
        503: {
          description: 'Not ready; `reasons` says why and what to do',
          content: { 'application/problem+json': { schema: ErrorSchema } },
        },
      },
    },
    handler: async (request, reply) => {
      const reasons = await readiness();
      if (reasons.length === 0) return { status: 'ok' as const };
      const problem = { code: 'unavailable' as const, detail: 'Not ready' };
      return await reply
        .code(503)
        .header('retry-after', retryAfterSeconds)
        .header('content-type', 'application/problem+json')
        .serializer(JSON.stringify)
        .send({ ...problemBody(problem, request.id), reasons } as never);
    },
  });
}
