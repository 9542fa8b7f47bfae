import { z } from 'zod';
import { containmentLevels, type JsonObject, jobReasons, jobStatuses } from '../jobs/job.ts';
import { ChangesSchema } from './change-schemas.ts';

/** Shapes that several routes share. JSON is snake_case; the names inside the service are not. */

/** A name that may reach a command line: nothing in it can be an option or a path. */
export const safeNamePattern = /^[A-Za-z0-9][A-Za-z0-9_.:-]{0,63}$/;

export const ErrorSchema = z
  .object({
    type: z.string(),
    title: z.string(),
    status: z.int(),
    detail: z.string().describe('A sentence for a person'),
    code: z.string().describe('Stable: branch on this'),
    request_id: z.string(),
    errors: z.array(z.object({ path: z.string(), message: z.string() })).optional(),
    reasons: z.array(z.string()).optional(),
  })
  .describe('RFC 9457 problem details');

const problem = { content: { 'application/problem+json': { schema: ErrorSchema } } };

/** One more refusal of a route. */
export function problemResponse<Status extends number>(status: Status, description: string) {
  return { [status]: { description, ...problem } } as Record<Status, { description: string } & typeof problem>;
}

/** What any authenticated route may answer. */
export const errorResponses = {
  400: { description: 'The request is malformed; `errors` names the fields', ...problem },
  401: { description: 'No valid bearer token', ...problem },
};
export const notFoundResponse = { 404: { description: 'No such job', ...problem } };
export const bodyErrorResponses = {
  413: { description: 'The body is too large', ...problem },
  415: { description: 'The content type is not application/json', ...problem },
};
export const admissionErrorResponses = {
  429: { description: 'The queue is full; see Retry-After', ...problem },
};
export const unavailableResponse = { 503: { description: 'Shutting down or not ready; see Retry-After', ...problem } };

/** Deepest nesting of metadata, itself included. */
const maxMetadataDepth = 32;
export const maxMetadataBytes = 16 * 1024;
export const metadataTooLong = 'longer than 16 KiB as JSON';

/** Any JSON object, given back as it came. Not parsed into a copy: a key like `__proto__` must survive. */
export const MetadataSchema = z
  .custom<JsonObject>(isObject, 'expected an object or null')
  .refine((value) => depthWithin(value, maxMetadataDepth), `nested more than ${maxMetadataDepth} deep`)
  .refine((value) => Buffer.byteLength(JSON.stringify(value)) <= maxMetadataBytes, metadataTooLong)
  .meta({ type: 'object', additionalProperties: true });

const timeSchema = z.string().meta({ format: 'date-time' });
const anyObject = z.custom<JsonObject>(isObject).meta({ type: 'object', additionalProperties: true });

/** What became of a job's processes; null where the level cannot know. */
const ContainmentSchema = z.object({
  level: z.enum(containmentLevels).describe('What held the processes together'),
  killed: z.int().nullable().describe('How many had to be killed'),
  survivors: z.int().nullable().describe('How many could not be ended'),
  peak_rss_bytes: z.int().nullable().describe('Peak memory of the largest process'),
  cpu_seconds: z.number().nullable().describe('Processor time of all processes'),
});

/** A job as lists show it. */
export const JobItemSchema = z.object({
  job_id: z.string(),
  status: z.enum(jobStatuses),
  prompt: z.string(),
  agent: z.string().nullable(),
  model: z.string().nullable(),
  provider: z.string(),
  metadata: anyObject.nullable(),
  created_at: timeSchema,
  started_at: timeSchema.nullable(),
  finished_at: timeSchema.nullable(),
  queue_position: z
    .int()
    .nullable()
    .describe('1 starts next; null once it is not queued, and while it waits for another job'),
  exit_code: z.int().nullable(),
  error: z.string().nullable().describe('Why it did not complete, a sentence for a person'),
  reason: z.enum(jobReasons).nullable(),
  usage: anyObject.nullable(),
  cost_usd: z.number().nullable(),
  // As the agent says it: an odd figure must not make the job unreadable.
  num_turns: z.number().nullable(),
  session_id: z.string().nullable(),
  changes: ChangesSchema.nullable().describe('Null until an agent has run; the lists are in /jobs/{id}/changes'),
  containment: ContainmentSchema.nullable().describe('Null until an agent has run'),
  disk_bytes: z
    .int()
    .nullable()
    .describe('The most that the job was seen to take on disk; null before the first look, also where it ended before'),
  attempt: z.int().describe('How often it was started'),
  max_attempts: z.int().describe('How often it may be, where its run was lost'),
  after: z.string().nullable().describe('The job that must have completed before this one starts'),
  retry_of: z.string().nullable().describe('The job whose request this one repeats'),
  followed_up: z
    .boolean()
    .nullable()
    .describe('Null where no follow-up was asked for; false until the end was acknowledged'),
});

/** When a queued job will start, by the times of the last runs. */
export const ExpectedStartSchema = z.object({
  at: timeSchema,
  earliest: timeSchema,
  latest: timeSchema.describe('Unless the coming runs are unlike the last ones'),
  samples: z.int().describe('How many runs it is judged by'),
});

/** A job, whole. */
export const JobSchema = JobItemSchema.extend({
  expected_start: ExpectedStartSchema.nullable().describe(
    'Null once it is not queued, or where too few runs are known',
  ),
  output: z
    .array(z.string())
    .describe("The CLI's final JSON object as it printed it; else the last lines of its output"),
  stderr: z.string().describe('The tail of its standard error'),
  result: z.string().nullable().describe("The agent's final text"),
});

function isObject(value: unknown): boolean {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** Recursion is bounded by the limit itself. */
function depthWithin(value: unknown, left: number): boolean {
  if (typeof value !== 'object' || value === null) return true;
  return left > 0 && Object.values(value).every((child) => depthWithin(child, left - 1));
}
