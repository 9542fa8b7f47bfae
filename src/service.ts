import { access, constants, mkdir } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import {
  clock,
  createContainment,
  createRunner,
  createWarm,
  createWorkspaces,
  monotonicClock,
  openAiSettings,
  roomSettings,
  setClocks,
  webhookSettings,
} from './adapters.ts';
import { createDiskMeter } from './agents/disk-meter.ts';
import { providers } from './agents/registry.ts';
import { createRunLog } from './agents/run-log.ts';
import { createRunRecorder } from './agents/run-recorder.ts';
import type { WarmAgents } from './agents/warm-agents.ts';
import { type Config, ConfigError } from './config.ts';
import { AccessTokenError, type AccessTokens, findAccessTokens } from './http/access-tokens.ts';
import { type App, createApp } from './http/app.ts';
import { createTokenVerifier } from './http/auth.ts';
import { createReadiness } from './http/readiness.ts';
import { createWebhookClient, type WebhookSettings } from './http/webhook-client.ts';
import { createJobService, type JobServiceControl } from './jobs/job-service.ts';
import type { AgentRunner, Store } from './jobs/ports.ts';
import type { Containment } from './process/containment.ts';
import { createRemover } from './process/remover.ts';
import { createMemoryQueue } from './queue/memory-queue.ts';
import { createSqliteStore } from './store/sqlite-store.ts';
import { createLogger, type Logger } from './telemetry/logger.ts';
import { createMetrics, type Metrics } from './telemetry/metrics.ts';
import { createFreeSpaceCheck, freeBytes } from './workspaces/free-space.ts';
import type { Workspaces } from './workspaces/workspace-client.ts';

/** The composition root: the one place that knows which adapter stands behind which port. */

export interface ServiceOptions {
  readonly config: Config;
  /** The environment of the process: agents and git see what is allowed of it. */
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly version: string;
}

export interface Service {
  readonly log: Logger;
  /** Where it listens, like `http://127.0.0.1:8080`. */
  readonly url: string;
  /** A token that was made at this start: to be shown now, for it is kept nowhere. */
  readonly madeToken: string | null;
  /**
   * Admits nothing more, lets running jobs end within DRAIN_SECONDS, then lets go of everything. Idempotent. Rejects when it
   * cannot come to its end, long after all agents should be gone.
   */
  stop(): Promise<void>;
  /** Ends a stop at once: what runs is killed. */
  hurry(): void;
}

interface Parts {
  readonly config: Config;
  readonly log: Logger;
  readonly store: Store;
  readonly workspaces: Workspaces;
  readonly runner: AgentRunner;
  readonly jobs: JobServiceControl;
  readonly freeSpace: () => Promise<string | null>;
  readonly metrics: Metrics;
  readonly containment: Containment;
  readonly webhooks: WebhookSettings | null;
  readonly warm: WarmAgents | null;
}

/** The store's check is a write: once a second is enough. The CLI's check starts a process; it keeps its own answer. */
const storeCheckMs = 1_000;
const fileCheckMs = 1_000;
/** Between two tries to clean up at start: what keeps it from that is the disk or its rights. */
const beginRetryMs = 2_000;
/** How long answers under way may take once nothing runs any more. */
const lastAnswersMs = 800;
/** What ending the agents and storing their ends may take beyond their grace: then it is the disk, and waiting helps nobody. */
const stopSlackMs = 20_000;

/** Starts the service. Throws `ConfigError` for what an operator has to change; else what kept it from starting. */
export async function startService({ config, env, version }: ServiceOptions): Promise<Service> {
  const log = createLogger(config.LOG_LEVEL);
  const dataDir = resolve(config.DATA_DIR);
  await useDataDir(dataDir);
  const store = createSqliteStore({ file: join(dataDir, 'jobs.db'), log });
  try {
    await store.ready();
    const tokens = await accessTokens(config, dataDir);
    const parts = await createParts({ config, env, version }, dataDir, store, log);
    const { jobs, metrics, webhooks, containment, workspaces } = parts;
    await jobs.recover();
    const starting = new AbortController();
    let begun = false;
    const app = await createApp({
      ...{ jobs, metrics, log, clock, version, containment: containment.level },
      cloneMethod: workspaces.method,
      verifyToken: createTokenVerifier(tokens.digests),
      readiness: readinessOf(parts, () => begun),
      maxPromptBytes: config.MAX_PROMPT_BYTES,
      openai: openAiSettings(config),
      ...(webhooks !== null && { webhooks: { allowed: webhooks.allowed, url: config.WEBHOOK_URL } }),
    });
    const url = await app.listen({ host: config.HOST, port: config.PORT });
    log.info({ url, version, data: dataDir, containment: containment.level }, 'listening');
    const beginning = begin(parts, starting.signal).then(() => {
      begun = true;
    });
    let stopping: Promise<void> | undefined;
    return {
      ...{ log, url, madeToken: tokens.made },
      stop: () => (stopping ??= stop(parts, app, { starting, beginning })),
      hurry: () => jobs.hurry(),
    };
  } catch (error) {
    await store.close();
    throw error;
  }
}

/** Every adapter and the job service on top of them; nothing has begun yet. */
async function createParts(
  { config, env, version }: ServiceOptions,
  dataDir: string,
  store: Store,
  log: Logger,
): Promise<Parts> {
  // First what may refuse the settings: what comes after it starts a process.
  const containment = await createContainment(config, dataDir, log);
  const room = roomSettings(config, dataDir);
  const freeSpace = createFreeSpaceCheck({ ...room, clock: monotonicClock, log });
  const disk = createDiskMeter({ limitBytes: config.MAX_WORKSPACE_BYTES, log });
  const remover = createRemover({ log, onRemoved: (ms) => metrics.workspaces.removed(ms) });
  const metrics = createMetrics({
    version,
    stats: () => jobs.stats(),
    warmAgents: () => warm?.ready() ?? 0,
    workspaces: {
      poolReady: () => workspaces.figures().poolReady,
      removalsPending: () => remover.pending() + workspaces.figures().removalsPending,
      removalsQuarantined: () => remover.quarantined() + workspaces.figures().removalsQuarantined,
      jobBytes: disk.totalBytes,
      freeBytes: () => freeBytes(room.directories.JOBS_DIR),
    },
  });
  const workspaces = createWorkspaces(config, dataDir, metrics.workspaces, env, log);
  const runsDir = join(dataDir, 'runs');
  const recorder = createRunRecorder({ runsDir, log });
  const runner = createRunner(config, { runsDir, recorder, containment, disk, remover }, env, log);
  const warm = createWarm(config, workspaces, runner, log);
  const webhooks = webhookSettings(config);
  const jobs = createJobService({
    refusal: freeSpace,
    ...{ store, workspaces: warm?.workspaces ?? workspaces, runner, clock, setClocks: setClocks(config), log },
    ...(warm !== null && { readyIds: warm }),
    runLog: createRunLog({ runsDir, recorder, providers }),
    queue: createMemoryQueue(config.MAX_CONCURRENCY),
    ...(webhooks !== null && { postWebhook: createWebhookClient(webhooks) }),
    onFinished: (job) => metrics.finished(job),
    capacity: config.MAX_CONCURRENCY,
    maxUnfinished: config.MAX_QUEUE_DEPTH,
    ttlMs: config.JOB_TTL_SECONDS * 1000,
    followUpTtlMs: config.FOLLOW_UP_TTL_SECONDS * 1000,
    adoptsRuns: config.RESTART_POLICY === 'adopt',
  });
  return { config, log, store, workspaces, runner, jobs, freeSpace, metrics, containment, webhooks, warm };
}

async function useDataDir(dataDir: string): Promise<void> {
  try {
    await mkdir(dataDir, { recursive: true, mode: 0o700 });
    await access(dataDir, constants.W_OK | constants.X_OK);
  } catch (error) {
    const why = error instanceof Error && 'code' in error ? ` (${String(error.code)})` : '';
    throw new ConfigError(`DATA_DIR holds "${dataDir}"; allowed: a directory that the service can write${why}`);
  }
}

async function accessTokens(config: Config, dataDir: string): Promise<AccessTokens> {
  try {
    return await findAccessTokens({
      token: config.API_BEARER_TOKEN,
      tokenFile: config.API_BEARER_TOKEN_FILE,
      digestFile: join(dataDir, 'token.sha256'),
    });
  } catch (error) {
    throw error instanceof AccessTokenError ? new ConfigError(error.message) : error;
  }
}

function readinessOf({ store, workspaces, runner, jobs, freeSpace }: Parts, hasBegun: () => boolean) {
  const all = [
    { what: 'The job store', check: async () => await storeReason(store), maxAgeMs: storeCheckMs },
    { what: 'The agent CLI', check: () => runner.check(), maxAgeMs: fileCheckMs },
    { what: 'The base repository', check: () => workspaces.check(), maxAgeMs: fileCheckMs },
    { what: 'The disk', check: freeSpace, maxAgeMs: fileCheckMs },
  ];
  // Of its own, for an answer from before the beginning must not be kept beyond it.
  const [early, later] = [createReadiness(all, monotonicClock), createReadiness(all, monotonicClock)];
  return async (): Promise<readonly string[]> => {
    if (jobs.stats().draining) return ['The service is shutting down'];
    return hasBegun() ? await later() : ['The service is starting', ...(await early())];
  };
}

async function storeReason(store: Store): Promise<string | null> {
  return await store.ready().then(
    () => null,
    (error: unknown) => (error instanceof Error ? error.message : 'The job store does not answer'),
  );
}

/** Prepares the base, cleans up after a dead process, then lets jobs run. Jobs are accepted meanwhile. Never rejects. */
async function begin({ workspaces, runner, jobs, warm, log }: Parts, signal: AbortSignal): Promise<void> {
  const missing = await runner.check();
  if (missing !== null) log.warn({ reason: missing }, 'jobs will fail until the agent CLI is there');
  while (!signal.aborted) {
    try {
      await workspaces.start(signal);
      await jobs.begin();
      if (!signal.aborted) warm?.begin();
      const reason = await workspaces.check();
      if (reason === null) return log.info({}, 'ready');
      return log.warn({ reason }, 'not ready: jobs fail, or lack a part of the base, until this is mended');
    } catch (error) {
      if (signal.aborted) return;
      log.error({ err: error }, 'could not begin to run jobs; trying again');
      await delay(beginRetryMs, undefined, { signal }).catch(() => undefined);
    }
  }
}

interface Beginning {
  readonly starting: AbortController;
  readonly beginning: Promise<void>;
}

async function stop(parts: Parts, app: App, { starting, beginning }: Beginning): Promise<void> {
  const { config, log, jobs, workspaces, warm, store } = parts;
  log.info({ ...jobs.stats() }, 'shutting down');
  const drainMs = config.DRAIN_SECONDS * 1000;
  const tooLate = new AbortController();
  const limitMs = drainMs + config.KILL_GRACE_SECONDS * 1000 + stopSlackMs;
  const gaveUp = delay(limitMs, undefined, { signal: tooLate.signal, ref: false }).then(
    () => Promise.reject(new Error('the service could not stop in time')),
    () => undefined,
  );
  const orderly = async (): Promise<void> => {
    const drained = jobs.drain(drainMs);
    starting.abort(new Error('the service is shutting down'));
    await beginning;
    await warm?.close();
    await drained;
    await closeServer(app);
    await workspaces.close();
    await store.close();
  };
  try {
    await Promise.race([orderly(), gaveUp]);
  } finally {
    tooLate.abort();
  }
  log.info({}, 'stopped');
}

/** Fastify's own close waits for sockets that never say anything: answers under way get their time, then all is cut. */
async function closeServer(app: App): Promise<void> {
  const cut = setTimeout(() => app.server.closeAllConnections(), lastAnswersMs);
  await app.close();
  clearTimeout(cut);
}
