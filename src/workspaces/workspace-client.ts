import { readdir } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { CloneMethod, JobId } from '../jobs/job.ts';
import { isJobId } from '../jobs/job-id.ts';
import type { Log, Workspace, WorkspaceManager } from '../jobs/ports.ts';
import { killStrays } from '../process/strays.ts';
import type { BaseHeads } from './base-heads.ts';
import { openPatch, readDetails } from './kept-changes.ts';
import {
  openWorkspaceChannel,
  type WorkspaceChannel,
  type WorkspaceListener,
  WorkspaceProcessGone,
} from './workspace-channel.ts';
import { noFigures, noMeter, type WorkspaceFigures } from './workspace-meter.ts';
import type { WorkspaceSettings } from './workspace-protocol.ts';

/** Workspaces, made by a process of their own. */
export interface Workspaces extends WorkspaceManager {
  /** Finds or makes the base. Rejects only with the signal's reason: what else goes wrong is told by `check` and tried again. */
  start(signal: AbortSignal): Promise<void>;
  readonly heads: BaseHeads;
  /** As they were a second ago. */
  figures(): WorkspaceFigures;
  /** How clones are made, as the last sweep found it; by git before. */
  method(): CloneMethod;
}

/** A process that ends as soon as it is started would else be started without pause. */
const firstRestartMs = 100;
const maxRestartMs = 30_000;
/** What an orderly end may take: it waits for removals, 5 s at most. */
const closeMs = 15_000;

/**
 * The process is started at once, and again whenever it has ended; then the workspaces of running jobs stay as they are, and what
 * was asked for in between waits.
 */
export function createWorkspaceClient(settings: WorkspaceSettings, log: Log, meter = noMeter): Workspaces {
  const known: Known = { living: new Set(), hasSwept: false, method: 'git' };
  const listener: WorkspaceListener = { log, meter, figures: noFigures };
  const process = keepProcess(settings, known, listener);
  const resultDir = (id: JobId): string => join(settings.resultsDir, id);
  const head = async (of: keyof BaseHeads, signal: AbortSignal): Promise<string | null> =>
    await process.ask((channel) => channel.call('head', { of }, signal));

  function workspace(id: JobId, baseCommit: string | null): Workspace {
    let disposed: Promise<void> | null = null;
    return {
      path: join(resolve(settings.jobsDir), id),
      baseCommit,
      changes: async (pushBranch) =>
        await process.ask((channel) => channel.call('changes', { id, pushBranch })).catch(nothingKnown(log, id)),
      giveBack: () => (disposed ??= dispose(id, 'giveBack')),
      [Symbol.asyncDispose]: () => (disposed ??= dispose(id, 'dispose')),
    };
  }

  async function dispose(id: JobId, how: 'dispose' | 'giveBack'): Promise<void> {
    try {
      await process.ask((channel) => channel.call(how, { id }));
    } catch (error) {
      // The next process finds it without a job, and removes it.
      log.error({ err: error, job_id: id }, 'a workspace could not be given back');
    } finally {
      known.living.delete(id);
    }
  }

  return {
    start: async (signal) => void (await process.ask((channel) => channel.call('start', null, signal))),
    async sweep(isKnown = async () => true) {
      const unknown = await strangersIn(settings.jobsDir, isKnown);
      known.method = await process.ask((channel) => channel.call('sweep', { unknown }));
      known.hasSwept = true;
    },
    async check() {
      if (process.isGone()) return 'The process of the workspaces has ended and is started again';
      return await process.ask((channel) => channel.call('check', null));
    },
    async create(id, signal, { ref } = { ref: null }) {
      const made = await process.ask((channel) => channel.call('create', { id, ref }, signal));
      known.living.add(id);
      return workspace(id, made.baseCommit);
    },
    adopt(id) {
      known.living.add(id);
      // If the process ends before, the next one adopts all that live.
      void process.ask((channel) => channel.call('adopt', { id })).catch(() => undefined);
      return workspace(id, null);
    },
    heads: { latest: (signal) => head('latest', signal), known: (signal) => head('known', signal) },
    changesOf: async (id) => await readDetails(resultDir(id)),
    patchOf: async (id) => await openPatch(resultDir(id)),
    figures: () => listener.figures,
    method: () => known.method,
    close: process.close,
  };
}

function nothingKnown(log: Log, id: JobId) {
  return (error: unknown): null => {
    log.error({ err: error, job_id: id }, 'the changes of a job could not be taken');
    return null;
  };
}

/** Workspaces without a job: an agent may have waited in one for a job that never came. */
async function strangersIn(jobsDir: string, isKnown: (id: JobId) => Promise<boolean>): Promise<readonly JobId[]> {
  const names: readonly string[] = await readdir(jobsDir).catch(() => []);
  const ids = names.filter(isJobId);
  const areKnown = await Promise.all(ids.map(isKnown));
  return ids.filter((_, i) => !areKnown[i]);
}

/** What a process has to be told of the time before it. */
interface Known {
  readonly living: Set<JobId>;
  hasSwept: boolean;
  method: CloneMethod;
}

/** In the environment of each git that such a process starts, and of nobody else. */
const markName = 'AGENT_SERVICE_WORKSPACES';

function keepProcess(given: WorkspaceSettings, known: Known, listener: WorkspaceListener) {
  const owner = resolve(given.jobsDir);
  const settings = { ...given, gitEnv: { ...given.gitEnv, [markName]: owner } };
  const closing = new AbortController();
  let channel = openWorkspaceChannel(settings, listener);
  /** Resolves to a process that knows what the one before it knew. */
  let ready = endLeftovers().then(() => channel);
  void keepAlive();

  async function keepAlive(): Promise<void> {
    for (let failures = 0; ; failures += 1) {
      const startedAt = performance.now();
      await channel.gone;
      if (closing.signal.aborted) return;
      if (performance.now() - startedAt > maxRestartMs) failures = 0;
      const waitMs = Math.min(maxRestartMs, firstRestartMs * 2 ** failures);
      listener.log.error({ restart_in_ms: waitMs }, 'The process of the workspaces has ended; it is started again');
      ready = restart(waitMs);
      await ready.catch(() => undefined); // Told to each call that waits for it.
      if (closing.signal.aborted) return;
    }
  }

  async function restart(waitMs: number): Promise<WorkspaceChannel> {
    await endLeftovers();
    await delay(waitMs, undefined, { signal: closing.signal });
    channel = openWorkspaceChannel(settings, listener);
    return await tell(channel, known, closing.signal);
  }

  /** A process that was killed has told nobody to end what it had started; one of an earlier service neither. */
  async function endLeftovers(): Promise<void> {
    const processes = await killStrays({ session: null, marks: [`${markName}=${owner}`] });
    if (processes > 0)
      listener.log.warn({ processes }, 'what an earlier process of the workspaces had started was ended');
  }

  async function usable(): Promise<WorkspaceChannel> {
    try {
      return await ready;
    } catch (cause) {
      throw new WorkspaceProcessGone({ cause });
    }
  }

  return {
    /** What is cut off by the end of a process is asked of the one after it, once: a second end is no accident. */
    async ask<T>(question: (channel: WorkspaceChannel) => Promise<T>): Promise<T> {
      const first = await usable();
      try {
        return await question(first);
      } catch (error) {
        if (!(error instanceof WorkspaceProcessGone)) throw error;
        await first.gone;
        return await question(await usable());
      }
    },
    isGone: () => channel.isGone(),
    async close(): Promise<void> {
      closing.abort(new Error('the service is closing'));
      channel.hold();
      const bound = delay(closeMs, undefined, { ref: false });
      await Promise.race([channel.call('close', null).catch(() => undefined), bound]);
      channel.disconnect();
      await Promise.race([channel.gone, bound]);
    },
  };
}

async function tell(channel: WorkspaceChannel, known: Known, signal: AbortSignal): Promise<WorkspaceChannel> {
  try {
    for (const id of known.living) await channel.call('adopt', { id });
    if (known.hasSwept) {
      await channel.call('start', null, signal);
      known.method = await channel.call('sweep', { unknown: [] });
    }
    return channel;
  } catch (error) {
    channel.disconnect(); // A process that does not know what lives must not be asked for anything: the one after it is.
    throw error;
  }
}
