import { z } from 'zod';
import { type Webhook, webhookEvents } from '../../jobs/webhooks.ts';
import type { AppDeps, TypedApp } from '../app.ts';
import { ProblemError } from '../errors.ts';
import { time } from '../job-view.ts';
import { errorResponses, notFoundResponse, unavailableResponse } from '../schemas.ts';
import { refusedUrl } from '../webhook-client.ts';

const maxUrlLength = 2_048;
const maxShown = 200;

const DeliverySchema = z.object({
  id: z.string(),
  job_id: z.string(),
  type: z.string(),
  url: z.string(),
  created_at: z.string(),
  tries: z.int(),
  error: z.string().nullable(),
});

/** The field `webhook` of a request. `allowed` is null where webhooks are not configured. */
export function webhookSchema(allowed: readonly string[] | null) {
  return z
    .strictObject({
      url: z
        .string()
        .max(maxUrlLength)
        .superRefine((url, context) => {
          const reason = refusedUrl(url, allowed ?? []);
          if (reason !== null) context.addIssue(reason);
        }),
      events: z
        .array(z.enum(webhookEvents))
        .min(1)
        .default(['final'])
        .describe('Told when the job begins, and when it ends'),
    })
    .refine(() => allowed !== null, 'webhooks are not configured: WEBHOOK_SECRET is not set');
}

/** A schema's output as the core knows it. */
export function webhookOf({ url, events }: z.output<ReturnType<typeof webhookSchema>>): Webhook {
  return { url, events: [...new Set(events)] };
}

/** `GET /webhooks/dead` and `POST /webhooks/:id/resend`: what receivers did not take. */
export function webhookRoutes(app: TypedApp, { jobs }: AppDeps): void {
  app.route({
    method: 'GET',
    url: '/webhooks/dead',
    schema: {
      summary: 'List webhooks that were given up',
      description: 'After about a day of tries, newest first; kept for 30 days.',
      tags: ['webhooks'],
      response: { 200: z.object({ deliveries: z.array(DeliverySchema) }), ...errorResponses, ...unavailableResponse },
    },
    handler: async () => ({
      deliveries: (await jobs.webhooks.dead(maxShown)).map(({ id, jobId, type, url, createdAt, tries, error }) => ({
        ...{ id, job_id: jobId, type, url, created_at: time(createdAt), tries, error },
      })),
    }),
  });

  app.route({
    method: 'POST',
    url: '/webhooks/:id/resend',
    schema: {
      summary: 'Send a webhook that was given up once more',
      tags: ['webhooks'],
      params: z.object({ id: z.string().max(100) }),
      response: { 202: z.object({ id: z.string() }), ...errorResponses, ...notFoundResponse, ...unavailableResponse },
    },
    handler: async ({ params: { id } }, reply) => {
      if (!(await jobs.webhooks.resend(id))) throw new ProblemError({ code: 'not_found', detail: 'No such delivery' });
      return await reply.code(202).send({ id });
    },
  });
}
