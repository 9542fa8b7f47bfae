import { z } from 'zod';
import { jobStatuses } from '../../jobs/job.ts';
import type { JobService } from '../../jobs/job-service.ts';
import type { AppDeps, TypedApp } from '../app.ts';
import { jobItem, jobView } from '../job-view.ts';
import { errorResponses, JobItemSchema, JobSchema, notFoundResponse, unavailableResponse } from '../schemas.ts';
import { whenCut } from '../when-closed.ts';

/** A long poll ends before any proxy on the way cuts it. */
const maxWaitSeconds = 60;
const maxLimit = 200;
const defaultLimit = 50;

const params = z.object({ id: z.string() });
const wholeNumber = z
  .string()
  .regex(/^\d{1,3}$/, 'expected a whole number')
  .transform(Number);
const waitQuery = z.object({
  wait: wholeNumber
    .refine((seconds) => seconds <= maxWaitSeconds, `at most ${maxWaitSeconds}`)
    .prefault('0')
    .describe('Answer as soon as the job is final, or after so many seconds'),
});
const listQuery = z.object({
  status: z.enum(jobStatuses).nullable().default(null),
  caller: z
    .string()
    .regex(/^[\w.:@-]{1,200}$/, 'expected the name of a caller')
    .nullable()
    .default(null),
  limit: wholeNumber.refine((n) => n >= 1 && n <= maxLimit, `from 1 to ${maxLimit}`).prefault(String(defaultLimit)),
  cursor: z
    .string()
    .transform((text, context) => {
      const seq = cursorSeq(text);
      if (seq === undefined) context.addIssue('not a cursor of this list');
      return seq ?? null;
    })
    .nullable()
    .default(null)
    .describe('`next_cursor` of the page before'),
});

/** `GET /jobs/:id`, `GET /jobs` and `POST /jobs/:id/cancel`. */
export function jobRoutes(app: TypedApp, { jobs }: AppDeps): void {
  listRoute(app, jobs);

  app.route({
    method: 'GET',
    url: '/jobs/:id',
    schema: {
      summary: 'Read a job, or wait for its end',
      tags: ['jobs'],
      params,
      querystring: waitQuery,
      response: { 200: JobSchema, ...errorResponses, ...notFoundResponse, ...unavailableResponse },
    },
    handler: async ({ params: { id }, query: { wait } }, reply) => {
      const job = wait === 0 ? await jobs.get(id) : await jobs.wait(id, wait * 1000, whenCut(reply.raw));
      return jobView(job);
    },
  });

  app.route({
    method: 'POST',
    url: '/jobs/:id/cancel',
    schema: {
      summary: 'Cancel a job',
      description: 'A queued job ends at once; of a running one the process tree is ended. Idempotent.',
      tags: ['jobs'],
      params,
      response: {
        200: JobSchema.describe('The job was final already: unchanged'),
        202: JobSchema.describe('The job as it was when its end began'),
        ...errorResponses,
        ...notFoundResponse,
        ...unavailableResponse,
      },
    },
    handler: async ({ params: { id } }, reply) => {
      const { job, changed } = await jobs.cancel(id, 'cancelled');
      return await reply.code(changed ? 202 : 200).send(jobView(job));
    },
  });
}

function listRoute(app: TypedApp, jobs: JobService): void {
  app.route({
    method: 'GET',
    url: '/jobs',
    schema: {
      summary: 'List jobs, newest first',
      description:
        'Without output, and with the first 1,000 characters of each prompt. Unknown parameters are ignored.',
      tags: ['jobs'],
      querystring: listQuery,
      response: {
        200: z.object({ jobs: z.array(JobItemSchema), next_cursor: z.string().nullable() }),
        ...errorResponses,
        ...unavailableResponse,
      },
    },
    handler: async ({ query: { cursor, ...query } }) => {
      const page = await jobs.list({ ...query, beforeSeq: cursor });
      return {
        jobs: page.jobs.map(jobItem),
        next_cursor: page.nextBeforeSeq === null ? null : Buffer.from(`s${page.nextBeforeSeq}`).toString('base64url'),
      };
    },
  });
}

function cursorSeq(cursor: string): number | undefined {
  const text = Buffer.from(cursor, 'base64url').toString('latin1');
  const seq = /^s(\d{1,15})$/.exec(text)?.[1];
  // Only what this list wrote: base64url readers skip what they do not know.
  return seq !== undefined && Buffer.from(text).toString('base64url') === cursor ? Number(seq) : undefined;
}
