import { z } from 'zod';
import type { JsonObject } from '../../jobs/job.ts';
import type { AppDeps, TypedApp } from '../app.ts';
import { InvalidRequestError } from '../errors.ts';
import { exactField, keepExact } from '../exact-json.ts';
import { jsonTextOf } from '../json-body.ts';
import {
  admissionErrorResponses,
  bodyErrorResponses,
  errorResponses,
  MetadataSchema,
  maxMetadataBytes,
  metadataTooLong,
  safeNamePattern,
  unavailableResponse,
} from '../schemas.ts';

/** The most that one run may be allowed to spend, and what it may without a word: a runaway agent costs this much. */
const maxBudgetUsd = 1000;
const defaultBudgetUsd = 5;
/** A day; and three quarters of an hour, what long agent runs take. */
const maxTimeoutSeconds = 86_400;
const defaultTimeoutSeconds = 2_700;
/** Every token belongs to the same caller until tokens have names. */
export const defaultCaller = 'default';

const AcceptedSchema = z.object({
  job_id: z.string(),
  status: z.literal('queued'),
  queue_position: z.int().nullable(),
});

/** `POST /execute`: take a job, answer when it is durable. */
export function executeRoutes(app: TypedApp, { jobs, metrics, maxPromptBytes }: AppDeps): void {
  app.route({
    method: 'POST',
    url: '/execute',
    schema: {
      summary: 'Submit a job',
      tags: ['jobs'],
      body: executeSchema(maxPromptBytes),
      response: {
        202: AcceptedSchema.describe('The job is durable and waits for its turn'),
        ...errorResponses,
        ...bodyErrorResponses,
        ...admissionErrorResponses,
        ...unavailableResponse,
      },
    },
    handler: async (request, reply) => {
      const { body } = request;
      const job = await jobs.submit(
        {
          kind: 'execute',
          provider: 'claude',
          prompt: body.prompt,
          systemPrompt: null,
          agent: body.agent,
          model: body.model,
          effort: null,
          maxBudgetUsd: body.max_budget_usd,
          timeoutMs: body.timeout_seconds * 1000,
          metadata: body.metadata && exactMetadata(body.metadata, jsonTextOf(request)),
          idleTimeoutMs: body.idle_timeout_seconds === null ? null : body.idle_timeout_seconds * 1000,
        },
        defaultCaller,
      );
      metrics.accepted('execute');
      return await reply
        .code(202)
        .header('location', `/jobs/${job.id}`)
        .send({ job_id: job.id, status: 'queued', queue_position: job.queuePosition });
    },
  });
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
function executeSchema(maxPromptBytes: number) {
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
    metadata: MetadataSchema.nullable().default(null).describe('Given back unchanged; at most 16 KiB and 32 levels'),
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
