import Fastify, {
  type FastifyBaseLogger,
  type FastifyInstance,
  type FastifyReply,
  type FastifyRequest,
  LogController,
} from 'fastify';
import { serializerCompiler, type ZodTypeProvider } from 'fastify-type-provider-zod';
import { z } from 'zod';
import type { CloneMethod, ContainmentLevel } from '../jobs/job.ts';
import type { JobService } from '../jobs/job-service.ts';
import type { Clock } from '../jobs/ports.ts';
import type { Metrics } from '../telemetry/metrics.ts';
import { useAnthropicHeaders } from './anthropic/errors.ts';
import { useBearerAuth, type VerifyToken } from './auth.ts';
import { createBrokenRequests } from './broken-requests.ts';
import type { PlainTiming } from './calls/plain-answer.ts';
import type { StreamTiming } from './calls/stream-answer.ts';
import { createErrorHandler } from './error-answers.ts';
import { InvalidRequestError, invalidFields } from './errors.ts';
import { useJsonBodies } from './json-body.ts';
import { useNotFound } from './not-found.ts';
import type { AttachmentClient } from './openai/attachment-client.ts';
import { useProcessingTime } from './openai/processing-time.ts';
import { originForm } from './origin-form.ts';
import { useRequestFraming } from './request-framing.ts';
import { requestId } from './request-id.ts';
import { createRequestLog } from './request-log.ts';
import { changeRoutes } from './routes/changes.ts';
import { docsRoutes, useOpenApi } from './routes/docs.ts';
import { eventRoutes } from './routes/events.ts';
import { executeRoutes } from './routes/execute.ts';
import { jobRoutes } from './routes/jobs.ts';
import { logRoutes } from './routes/log.ts';
import { metricsRoute } from './routes/metrics.ts';
import { probeRoutes } from './routes/probes.ts';
import { webhookRoutes } from './routes/webhooks.ts';
import { v1Routes } from './v1-routes.ts';

export interface AppDeps {
  readonly jobs: JobService;
  readonly verifyToken: VerifyToken;
  /** What keeps the service from doing its work, one sentence each with the fix; empty when it is ready. */
  readonly readiness: () => Promise<readonly string[]>;
  readonly metrics: Metrics;
  readonly log: FastifyBaseLogger;
  readonly clock: Clock;
  readonly version: string;
  /** How the processes of a job are held together here. */
  readonly containment: ContainmentLevel;
  /** How the clones of jobs are made now. */
  readonly cloneMethod: () => CloneMethod;
  readonly maxPromptBytes: number;
  /** Absent where webhooks are not configured; `url` is told of every job. */
  readonly webhooks?: { readonly allowed: readonly string[]; readonly url: string | null };
  /** Between two comments of a silent event stream; the default suits the proxies that are known. */
  readonly eventCommentMs?: number;
  readonly openai: OpenAiSettings;
  /** How slow a client may be. */
  readonly timeouts?: ServerTimeouts;
}

/** All in ms. */
export interface ServerTimeouts {
  /** From the first byte, or from connecting, to the end of the headers. */
  readonly headersMs: number;
  /** From the first byte to the end of the body. */
  readonly requestMs: number;
  /** How often the two are looked at. */
  readonly checkMs: number;
}

/** How /v1 runs. */
export interface OpenAiSettings {
  readonly models: readonly string[];
  readonly defaultModel: string;
  readonly agent: string | null;
  readonly budgetUsd: number;
  readonly timeoutMs: number;
  /** How a silent stream is kept alive; the default suits the clients that are known. */
  readonly streamTiming?: StreamTiming;
  /** The same for a plain answer that takes long. */
  readonly plainTiming?: PlainTiming;
  /** Absent where no attachment is fetched. */
  readonly attachments?: AttachmentClient;
}

export type App = FastifyInstance;
/** A server whose routes are typed by their zod schemas. */
export type TypedApp = ReturnType<typeof typed>;

// Against slow clients: with these all six of the known ways to hold a socket end within 16 s (Node's defaults: minutes).
const defaultTimeouts: ServerTimeouts = { headersMs: 8_000, requestMs: 15_000, checkMs: 2_000 };
/** Longer than the idle timeout of common load balancers (60 s), so that it is they who close first. */
const keepAliveTimeoutMs = 72_000;
/** A JSON string takes up to six bytes for one of the prompt (`\u0001`); the rest is room for the other fields. */
const jsonBytesPerPromptByte = 6;
const otherFieldsBytes = 256 * 1024;
/** Node's own limit on headers is 16 KiB; a path parameter longer than that cannot arrive. */
const maxParamLength = 16 * 1024;

/** The HTTP server with all its routes; it does not listen yet. */
export async function createApp(deps: AppDeps): Promise<App> {
  const answerError = createErrorHandler(deps.metrics);
  const brokenRequests = createBrokenRequests();
  const { headersMs, requestMs, checkMs } = deps.timeouts ?? defaultTimeouts;
  const app = Fastify({
    loggerInstance: deps.log,
    childLoggerFactory: createRequestLog,
    logController: new LogController({ disableRequestLogging: true }),
    genReqId: requestId,
    requestIdHeader: false,
    rewriteUrl: ({ url = '' }) => originForm(url),
    // While it closes, requests on connections that are still open are answered like all others.
    return503OnClosing: false,
    bodyLimit: deps.maxPromptBytes * jsonBytesPerPromptByte + otherFieldsBytes,
    requestTimeout: requestMs,
    keepAliveTimeout: keepAliveTimeoutMs,
    // A request without a Host header is refused here, in the shape of all other answers.
    http: { headersTimeout: headersMs, connectionsCheckingInterval: checkMs, requireHostHeader: false },
    routerOptions: { maxParamLength },
    clientErrorHandler: brokenRequests.answer,
    frameworkErrors: (error, request, reply) => answerError(error, request, reply),
  });
  brokenRequests.watch(app.server);
  app.setValidatorCompiler(({ schema }) => validatorOf(schema));
  app.setSerializerCompiler(serializerCompiler);
  app.setErrorHandler(answerError);
  app.addHook('onRequest', (request, reply, done) => {
    reply.header('x-request-id', request.id);
    // A client that keeps its connection would come back to a service that is about to go.
    if (deps.jobs.stats().draining) reply.header('connection', 'close');
    done();
  });
  app.addHook('onResponse', (request, reply, done) => {
    logResponse(request, reply);
    done();
  });
  useRequestFraming(app);
  useProcessingTime(app);
  useNotFound(app);
  useJsonBodies(app);
  useAnthropicHeaders(app);
  await useBearerAuth(app, deps.verifyToken);
  await useOpenApi(app, deps.version);
  const routes = typed(app);
  probeRoutes(routes, deps);
  metricsRoute(routes, deps);
  executeRoutes(routes, deps);
  jobRoutes(routes, deps);
  eventRoutes(routes, deps);
  logRoutes(routes, deps);
  webhookRoutes(routes, deps);
  changeRoutes(routes, deps);
  v1Routes(routes, deps);
  docsRoutes(routes);
  await app.ready();
  return app;
}

function typed(app: FastifyInstance) {
  return app.withTypeProvider<ZodTypeProvider>();
}

function validatorOf(schema: unknown) {
  if (!(schema instanceof z.ZodType)) throw new Error('a route has a schema that is not zod');
  return (data: unknown) => {
    const result = schema.safeParse(data, { reportInput: true });
    return result.success
      ? { value: result.data }
      : { error: new InvalidRequestError(invalidFields(result.error.issues)) };
  };
}

function logResponse(request: FastifyRequest, reply: FastifyReply): void {
  const { level } = request.log;
  // Almost every request: its fields would be made for nobody.
  if (reply.statusCode < 500 && level !== 'debug' && level !== 'trace') return;
  const fields = {
    method: request.method,
    // Without the query: callers put secrets there.
    path: request.url.split('?', 1)[0],
    status: reply.statusCode,
    ms: Math.round(reply.elapsedTime),
  };
  if (reply.statusCode >= 500) request.log.warn(fields, 'request');
  else request.log.debug(fields, 'request');
}
