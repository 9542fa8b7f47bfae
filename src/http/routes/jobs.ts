import { z } from 'zod';
import { jobStatuses } from '../../jobs/job.ts';
import type { JobQuery } from '../../jobs/ports.ts';
import type { AppDeps, TypedApp } from '../app.ts';
import { InvalidRequestError } from '../errors.ts';
import { jobItem, jobView } from '../job-view.ts';
import {
  errorResponses,
  JobItemSchema,
  JobSchema,
  notFoundResponse,
  problemResponse,
  safeNamePattern,
  unavailableResponse,
} from '../schemas.ts';
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
const searchable = z.string().min(1).max(256);
const instant = z.iso
  .datetime({ offset: true, error: 'expected a time like 2030-01-31T12:00:00Z' })
  .transform((text) => Date.parse(text));
const listQuery = z.object({
  agent: z.string().regex(safeNamePattern, 'expected the name of an agent').optional(),
  metadata_key: searchable.optional().describe('Only jobs with this field on the first level of their metadata'),
  metadata_value: z
    .string()
    .max(256)
    .optional()
    .describe('With `metadata_key`: only where it holds this scalar, as text'),
  created_from: instant.optional().describe('Admitted then or later'),
  created_before: instant.optional(),
  followed_up: z
    .enum(['true', 'false'])
    .transform((text) => text === 'true')
    .optional()
    .describe('Of the jobs submitted with `follow_up`: false = ended and not yet acknowledged'),
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

/** `GET` and `DELETE /jobs/:id`, `GET /jobs` and `POST /jobs/:id/cancel`. */
export function jobRoutes(app: TypedApp, deps: AppDeps): void {
  const { jobs } = deps;
  acknowledgeRoute(app, deps);
  cancelRoute(app, deps);
  removeRoute(app, deps);
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
      return jobView(job, jobs.expectedStart(job));
    },
  });

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
    handler: async ({ query }) => {
      const page = await jobs.list(jobQuery(query));
      return {
        jobs: page.jobs.map(jobItem),
        next_cursor: page.nextBeforeSeq === null ? null : Buffer.from(`s${page.nextBeforeSeq}`).toString('base64url'),
      };
    },
  });
}

function jobQuery(query: z.output<typeof listQuery>): JobQuery {
  const { status, caller, limit, cursor, agent, followed_up: followedUp } = query;
  const { metadata_key: name, metadata_value: value, created_from: from, created_before: before } = query;
  if (value !== undefined && name === undefined) {
    throw new InvalidRequestError([{ path: 'metadata_key', message: 'required with metadata_value', missing: true }]);
  }
  return {
    ...{ status, caller, limit, beforeSeq: cursor },
    ...(agent !== undefined && { agent }),
    ...(name !== undefined && { metadata: { name, value: value ?? null } }),
    ...(from !== undefined && { createdFrom: from }),
    ...(before !== undefined && { createdBefore: before }),
    ...(followedUp !== undefined && { followedUp }),
  };
}

function acknowledgeRoute(app: TypedApp, { jobs }: AppDeps): void {
  app.route({
    method: 'POST',
    url: '/jobs/:id/ack',
    schema: {
      summary: 'Acknowledge the end of a job',
      description: 'A job submitted with `follow_up` is kept until then. Idempotent; of another job nothing changes.',
      tags: ['jobs'],
      params,
      response: {
        200: JobSchema.describe('The job'),
        ...errorResponses,
        ...notFoundResponse,
        ...problemResponse(409, 'The job has not ended yet'),
        ...unavailableResponse,
      },
    },
    handler: async ({ params: { id } }) => jobView(await jobs.acknowledge(id)),
  });
}

function cancelRoute(app: TypedApp, { jobs }: AppDeps): void {
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

function removeRoute(app: TypedApp, { jobs }: AppDeps): void {
  app.route({
    method: 'DELETE',
    url: '/jobs/:id',
    schema: {
      summary: 'Delete a job that has ended',
      description: 'With its events, its log and its output, before its time is over.',
      tags: ['jobs'],
      params,
      response: {
        204: z.undefined().describe('The job is gone'),
        ...errorResponses,
        ...notFoundResponse,
        ...problemResponse(409, 'The job has not ended yet: cancel it first'),
        ...unavailableResponse,
      },
    },
    handler: async ({ params: { id } }, reply) => {
      await jobs.remove(id);
      return await reply.code(204).send();
    },
  });
}

function cursorSeq(cursor: string): number | undefined {
  const text = Buffer.from(cursor, 'base64url').toString('latin1');
  const seq = /^s(\d{1,15})$/.exec(text)?.[1];
  // Only what this list wrote: base64url readers skip what they do not know.
  return seq !== undefined && Buffer.from(text).toString('base64url') === cursor ? Number(seq) : undefined;
}
