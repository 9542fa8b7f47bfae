import type { FastifyReply } from 'fastify';
import { z } from 'zod';
import { type JobRecord, type JobSpec, type JsonObject, jobStatuses, maxAttempts } from '../../jobs/job.ts';
import { isJobId } from '../../jobs/job-id.ts';
import type { JobService } from '../../jobs/job-service.ts';
import type { Webhook } from '../../jobs/webhooks.ts';
import type { AppDeps, TypedApp } from '../app.ts';
import { InvalidRequestError, unknownDependency } from '../errors.ts';
import { exactField, keepExact } from '../exact-json.ts';
import { idempotencyOf } from '../idempotency.ts';
import { streamJobEvents } from '../job-event-stream.ts';
import { expectedStartView } from '../job-view.ts';
import {
  admissionErrorResponses,
  bodyErrorResponses,
  ExpectedStartSchema,
  errorResponses,
  MetadataSchema,
  maxMetadataBytes,
  metadataTooLong,
  notFoundResponse,
  problemResponse,
  safeNamePattern,
  unavailableResponse,
} from '../schemas.ts';
import { whenCut } from '../when-closed.ts';
import { webhookOf, webhookSchema } from './webhooks.ts';

/** The most that one run may be allowed to spend, and what it may without a word: a runaway agent costs this much. */
const maxBudgetUsd = 1000;
const defaultBudgetUsd = 5;
/** A day; and three quarters of an hour, what long agent runs take. */
const maxTimeoutSeconds = 86_400;
const defaultTimeoutSeconds = 2_700;
/** Every token belongs to the same caller until tokens have names. */
export const defaultCaller = 'default';

/** What git allows and a little less: no option, no way upwards, nothing that means something in a refspec. */
const refPattern = /^(?![-/.])(?!.*(?:\.\.|\/\/|\/\.|\.lock(?:\/|$)|[/.]$))[A-Za-z0-9_./-]{1,200}$/;

const AcceptedSchema = z.object({
  job_id: z.string(),
  status: z
    .enum(jobStatuses)
    .describe(
      '`queued`; `cancelled` where the job to start after did not complete; of a repeated submit the state of its job',
    ),
  queue_position: z.int().nullable(),
  expected_start: ExpectedStartSchema.nullable(),
});

/** `POST /execute` and `POST /jobs/:id/retry`: take a job, answer when it is durable. */
export function executeRoutes(app: TypedApp, deps: AppDeps): void {
  const { jobs, metrics, maxPromptBytes, eventCommentMs, webhooks } = deps;
  retryRoute(app, deps);
  app.route({
    method: 'POST',
    url: '/execute',
    schema: {
      summary: 'Submit a job',
      description:
        'Repeated with the same `Idempotency-Key` (1 to 255 visible ASCII characters) and content it answers with the first job, as long as that is kept.',
      tags: ['jobs'],
      body: executeSchema(maxPromptBytes, webhooks?.allowed ?? null),
      response: {
        200: {
          description:
            'The Idempotency-Key was used before: its job. Or, with `Accept: text/event-stream`, the events of the job, which is durable',
          content: { 'application/json': { schema: AcceptedSchema }, 'text/event-stream': { schema: z.string() } },
        },
        202: AcceptedSchema.describe('The job is durable and waits for its turn'),
        ...errorResponses,
        ...bodyErrorResponses,
        ...problemResponse(422, 'The Idempotency-Key was used before with another request'),
        ...admissionErrorResponses,
        ...unavailableResponse,
      },
    },
    handler: async (request, reply) => {
      const { body, headers } = request;
      const key = idempotencyOf(headers['idempotency-key'], body);
      const spec = executeSpec(body, request.jsonText, webhooks?.url ?? null);
      const { job, replayed } =
        key === undefined
          ? { job: await jobs.submit(spec, defaultCaller), replayed: false }
          : await jobs.submitOnce(spec, defaultCaller, key);
      if (replayed) reply.header('idempotent-replayed', 'true');
      else metrics.accepted('execute');
      if (wantsEvents(headers.accept)) {
        reply.header('location', `/jobs/${job.id}`);
        const stream = { jobs, reply, signal: whenCut(reply.raw), commentMs: eventCommentMs };
        return await streamJobEvents(stream, { id: job.id, after: 0, deltas: true });
      }
      return await sendAccepted(reply, jobs, job, replayed);
    },
  });
}

/** Place and time are in headers too, for those who do not read bodies. */
async function sendAccepted(
  reply: FastifyReply,
  jobs: JobService,
  job: JobRecord,
  replayed: boolean,
): Promise<FastifyReply> {
  const expected = expectedStartView(jobs.expectedStart(job));
  reply.header('location', `/jobs/${job.id}`);
  if (job.queuePosition !== null) reply.header('x-queue-position', job.queuePosition);
  if (expected !== null) reply.header('x-expected-start', expected.at);
  const { id, status, queuePosition } = job;
  const body: z.output<typeof AcceptedSchema> = {
    ...{ job_id: id, status, queue_position: queuePosition, expected_start: expected },
  };
  return await reply.code(replayed ? 200 : 202).send(body);
}

/** `POST /jobs/:id/retry`: the same request once more. */
function retryRoute(app: TypedApp, { jobs, metrics }: AppDeps): void {
  app.route({
    method: 'POST',
    url: '/jobs/:id/retry',
    schema: {
      summary: 'Submit the request of a job that has ended once more',
      description: 'As a job of its own, whose `retry_of` names the first.',
      tags: ['jobs'],
      params: z.object({ id: z.string() }),
      response: {
        202: AcceptedSchema.describe('The new job is durable and waits for its turn'),
        ...errorResponses,
        ...notFoundResponse,
        ...problemResponse(409, 'The job has not ended yet'),
        ...admissionErrorResponses,
        ...unavailableResponse,
      },
    },
    handler: async ({ params: { id } }, reply) => {
      const job = await jobs.retry(id, defaultCaller);
      metrics.accepted('execute');
      return await sendAccepted(reply, jobs, job, false);
    },
  });
}

type ExecuteBody = z.output<ReturnType<typeof executeSchema>>;

/** `json`: the whole body as it came. */
function executeSpec(body: ExecuteBody, json: string, everyUrl: string | null): JobSpec {
  const { after } = body;
  if (after !== null && !isJobId(after)) throw new InvalidRequestError([unknownDependency]);
  // Not one literal with parts that are there or not: each of those would cost as much as all of the rest.
  const spec: { -readonly [Key in keyof JobSpec]: JobSpec[Key] } = {
    kind: 'execute',
    provider: 'claude',
    prompt: body.prompt,
    systemPrompt: null,
    agent: body.agent,
    model: body.model,
    effort: null,
    maxBudgetUsd: body.max_budget_usd,
    timeoutMs: body.timeout_seconds * 1000,
    idleTimeoutMs: body.idle_timeout_seconds === null ? null : body.idle_timeout_seconds * 1000,
    metadata: body.metadata && exactMetadata(body.metadata, json),
    ref: body.ref,
  };
  const webhooks = webhooksOf(body, everyUrl);
  if (webhooks.length > 0) spec.webhooks = webhooks;
  if (body.push_branch !== null) spec.pushBranch = body.push_branch;
  if (after !== null) spec.after = after;
  if (body.max_attempts > 1) spec.maxAttempts = body.max_attempts;
  if (body.follow_up) spec.followUp = true;
  return spec;
}

function webhooksOf({ webhook }: ExecuteBody, everyUrl: string | null): readonly Webhook[] {
  const wanted = webhook === null ? [] : [webhookOf(webhook)];
  return everyUrl === null ? wanted : [...wanted, { url: everyUrl, events: ['final'] }];
}

function wantsEvents(accept: string | undefined): boolean {
  // Almost every request asks for no such thing.
  if (accept === undefined || accept === '*/*') return false;
  const types = accept.split(',').map((text) => text.split(';').map((part) => part.trim().toLowerCase()));
  // The weight 0 says: not this (RFC 9110, section 12.4.2).
  return types.some(
    ([type, ...more]) => type === 'text/event-stream' && !more.some((part) => /^q=0(?:\.0*)?$/.test(part)),
  );
}

/** The metadata as the caller wrote it, numbers too: `json` is the whole body. */
function exactMetadata(metadata: JsonObject, json: string): JsonObject {
  const text = exactField(json, 'metadata') ?? '';
  if (Buffer.byteLength(text) > maxMetadataBytes) {
    throw new InvalidRequestError([{ path: 'metadata', message: metadataTooLong, missing: false }]);
  }
  return keepExact(metadata, text);
}

/** Unknown fields are refused by name: a misspelt budget must not cost money. */
function executeSchema(maxPromptBytes: number, webhookHosts: readonly string[] | null) {
  const name = z
    .string()
    .regex(safeNamePattern, 'expected 1 to 64 characters of A-Z a-z 0-9 _ . : - that begin with a letter or digit');
  return z.strictObject({
    prompt: promptSchema(maxPromptBytes).describe('Reaches the agent unchanged'),
    agent: name.nullable().default(null).describe("The agent of the repository that runs it; none: the CLI's default"),
    model: name.nullable().default(null).describe("The model; none: the agent's own"),
    max_budget_usd: z.number().gt(0).lte(maxBudgetUsd).default(defaultBudgetUsd),
    timeout_seconds: z
      .int()
      .gte(1)
      .lte(maxTimeoutSeconds)
      .default(defaultTimeoutSeconds)
      .describe('Counts the run only: not the queue, not the clone'),
    idle_timeout_seconds: z
      .int()
      .gte(0)
      .lte(maxTimeoutSeconds)
      .nullable()
      .default(null)
      .describe('How long the agent may print nothing; 0: as long as it likes; null: what the service is set to'),
    webhook: webhookSchema(webhookHosts).nullable().default(null).describe('Told of changes of the job'),
    follow_up: z
      .boolean()
      .default(false)
      .describe('Keep the job until its end was acknowledged by `POST /jobs/:id/ack`'),
    after: z
      .string()
      .nullable()
      .default(null)
      .describe(
        'The id of a job: this one starts only once that one has completed, and is cancelled (`dependency`) if it ends otherwise',
      ),
    max_attempts: z
      .int()
      .gte(1)
      .lte(maxAttempts)
      .default(1)
      .describe('How often it may be started: once more where its run was lost with the service, never after it ended'),
    metadata: MetadataSchema.nullable().default(null).describe('Given back unchanged; at most 16 KiB and 32 levels'),
    ref: z
      .string()
      .regex(refPattern, 'expected the name of a branch or tag, or a commit')
      .nullable()
      .default(null)
      .describe('The branch, tag or commit to start from; none: the branch that the base follows'),
    push_branch: z
      .string()
      .regex(refPattern, 'expected the name of a branch')
      .refine((text) => text !== 'HEAD' && !text.startsWith('refs/'), 'expected the name of a branch')
      .nullable()
      .default(null)
      .describe(
        "Pushes what a completed run changed as this branch to the base's remote: never forced, never the base's own branch. `changes.push` tells what became of it",
      ),
  });
}

/** What can reach an agent byte for byte: UTF-8 without NUL, of bounded length. */
export function promptSchema(maxBytes: number) {
  return z
    .string()
    .min(1, 'must not be empty')
    .refine((text) => Buffer.byteLength(text) <= maxBytes, `longer than ${maxBytes} bytes`)
    .refine((text) => !text.includes('\0'), 'must not contain NUL')
    .refine((text) => text.isWellFormed(), 'must be well-formed Unicode');
}
