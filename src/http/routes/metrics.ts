import { z } from 'zod';
import type { AppDeps, TypedApp } from '../app.ts';
import { errorResponses } from '../schemas.ts';

/** `GET /metrics`: with a token, for the figures say who works how much. */
export function metricsRoute(app: TypedApp, { metrics }: AppDeps): void {
  app.route({
    method: 'GET',
    url: '/metrics',
    schema: {
      summary: 'Metrics for Prometheus',
      tags: ['operations'],
      response: {
        200: { description: 'Prometheus text', content: { 'text/plain': { schema: z.string() } } },
        ...errorResponses,
      },
    },
    handler: async (_request, reply) => {
      const { contentType, text } = await metrics.render();
      return await reply.header('content-type', contentType).serializer(String).send(text);
    },
  });
}
