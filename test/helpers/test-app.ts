import type { AddressInfo } from 'node:net';
import { onTestFinished } from 'vitest';
import { type App, type AppDeps, createApp, type OpenAiSettings } from '../../src/http/app.ts';
import { createJobService, type JobService, type JobServiceControl } from '../../src/jobs/job-service.ts';
import type { Store, WorkspaceManager } from '../../src/jobs/ports.ts';
import { createMemoryQueue } from '../../src/queue/memory-queue.ts';
import { createLogger } from '../../src/telemetry/logger.ts';
import {
  completed,
  createFakeStore,
  createFakeWorkspaces,
  createScriptedRunner,
  emptyRunLog,
  type ScriptedRun,
  type ScriptedRunner,
  silentLog,
  systemClock,
} from './fake-ports.ts';

export const token = 'test-token';
export const headers = { authorization: `Bearer ${token}`, 'content-type': 'application/json' };
export const maxPromptBytes = 1000;

export interface TestAppOptions {
  readonly script?: (run: ScriptedRun) => ReturnType<Parameters<typeof createScriptedRunner>[0]>;
  readonly workspaces?: WorkspaceManager;
  readonly store?: Store;
  readonly capacity?: number;
  readonly maxUnfinished?: number;
  readonly settings?: Partial<OpenAiSettings>;
  /** Replaces parts of the job service. */
  readonly jobs?: (jobs: JobService) => Partial<JobService>;
  /** Replaces what the server depends on. */
  readonly deps?: Partial<AppDeps>;
}

export interface TestApp {
  readonly app: App;
  readonly service: JobServiceControl;
  readonly runner: ScriptedRunner;
  /** Each cancellation that a route asked for. */
  readonly cancels: readonly { readonly id: string; readonly reason: string }[];
  /** Listens on loopback; the base URL. */
  listen(): Promise<string>;
}

/** The whole server in front of the real job service, with an agent that does what a script says. Closes with the test. */
export async function createTestApp(options: TestAppOptions = {}): Promise<TestApp> {
  const runner = createScriptedRunner(options.script ?? (async () => completed({ text: 'Hello' })));
  const service = createJobService({
    store: options.store ?? createFakeStore(),
    queue: createMemoryQueue(options.capacity ?? 10),
    workspaces: options.workspaces ?? createFakeWorkspaces(),
    runner,
    runLog: emptyRunLog,
    clock: systemClock,
    log: silentLog,
    capacity: options.capacity ?? 10,
    maxUnfinished: options.maxUnfinished ?? 100,
    ttlMs: 3_600_000,
  });
  await service.recover();
  await service.begin();
  const cancels: { id: string; reason: string }[] = [];
  const jobs: JobService = {
    ...service,
    ...options.jobs?.(service),
    cancel: async (id, reason) => {
      cancels.push({ id, reason });
      return await service.cancel(id, reason);
    },
  };
  const app = await createApp({ jobs, ...depsOf(options.settings), ...options.deps });
  onTestFinished(async () => {
    app.server.closeAllConnections();
    await app.close();
    await service.drain(0);
  });
  return {
    app,
    service,
    runner,
    cancels,
    async listen() {
      await app.listen({ host: '127.0.0.1', port: 0 });
      return `http://127.0.0.1:${addressOf(app).port}`;
    },
  };
}

function depsOf(settings: Partial<OpenAiSettings> | undefined): Omit<AppDeps, 'jobs'> {
  return {
    verifyToken: (sent) => sent === token,
    readiness: async () => [],
    metrics: {
      accepted() {},
      refused() {},
      finished() {},
      render: async () => ({ contentType: 'text/plain', text: '' }),
    },
    log: createLogger('silent'),
    clock: systemClock,
    version: '0.0.0',
    containment: 'group',
    cloneMethod: () => 'copy',
    maxPromptBytes,
    openai: {
      models: ['haiku', 'sonnet', 'claude-sonnet-4-6'],
      defaultModel: 'sonnet',
      agent: 'helper',
      budgetUsd: 2,
      timeoutMs: 900_000,
      ...settings,
    },
  };
}

export function addressOf(app: App): AddressInfo {
  const address = app.server.address();
  if (address === null || typeof address === 'string') throw new Error('the server does not listen');
  return address;
}
