import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { WorkspaceError } from '../jobs/errors.ts';
import type { Clock, Log } from '../jobs/ports.ts';
import { createBaseFetch } from './base-fetch.ts';
import { createBaseRefs, type Target } from './base-ref.ts';
import { createRepair } from './base-repair.ts';
import type { Transport } from './git.ts';
import { createMutex } from './mutex.ts';
import { type BaseSource, isRepository, type OpenBase, openBase } from './open-base.ts';
import { readRef } from './read-ref.ts';
import { until } from './until.ts';
import type { WorkspaceMeter } from './workspace-meter.ts';

/** The base as one clone finds it. */
export interface BaseState {
  readonly path: string;
  readonly gitDir: string;
  /** May hold credentials. */
  readonly originUrl: string | null;
  readonly transport: Transport;
  /** The branch that the base follows, whether or not it has one of that name yet. */
  readonly follows: string;
  /** What to check out; null: whatever its HEAD names, for it has no commit yet. */
  readonly branch: string | null;
  /** The commit there when this was read; null in an empty repository. */
  readonly head: string | null;
  /** What to check out instead, where a job asked for it. */
  readonly target: Target | null;
}

/** The repository that all clones are made from: found or made once, then kept close to its remote. */
export interface BaseRepo {
  /** Makes it ready ahead of the first job. What goes wrong is told by `check` and tried again later; rejects only on abort. */
  open(signal: AbortSignal): Promise<void>;
  /**
   * The base, as fresh as can be had without a long wait, at its branch or at another ref that is asked for. Rejects with
   * `WorkspaceError` if there is none, and with the signal's reason. Safe to call concurrently.
   */
  current(signal: AbortSignal, ref?: string | null): Promise<BaseState>;
  /** The base as it is, without a look at the remote. Rejects in the same way. */
  peek(signal: AbortSignal): Promise<BaseState>;
  /** Grows whenever a fetch begins or ends; odd while one is under way. What reads the base meanwhile may stumble over it. */
  epoch(): number;
  /**
   * To be called when a clone failed for no known reason: looks whether the base is damaged, and makes it anew if so. True if
   * it was; then a clone is worth another try. One at a time, shared by all who ask. Rejects only with the signal's reason.
   */
  repair(signal: AbortSignal): Promise<boolean>;
  /** Why there is no base, a sentence for an operator; null if there is one. */
  check(): Promise<string | null>;
  /** Ends what is under way. */
  close(): void;
}

export interface BaseRepoDeps extends BaseSource {
  readonly fetchDebounceMs: number;
  readonly meter?: WorkspaceMeter;
  readonly log: Log;
  readonly clock: Clock;
}

/** How often a base that could not be opened is tried again without a job that asks for it. */
const reopenMs = 30_000;

export function createBaseRepo(deps: BaseRepoDeps): BaseRepo {
  const changes = createMutex(1, deps.meter?.lockWaited);
  const closing = new AbortController();
  const fetch = createBaseFetch({ ...deps, changes, closing: closing.signal });
  let refEpoch = 0;
  const onFetch = (): void => {
    refEpoch += 1;
  };
  const refs = createBaseRefs({ ...deps, changes, closing: closing.signal, onFetch });
  const opener = createOpener(deps, closing.signal, async () => {
    const base = await changes.run(() => openBase(deps, closing.signal));
    if (!base.bare && !existsSync(join(base.gitDir, 'index'))) void fetch.syncWorkTree(base);
    return base;
  });
  const repairOnce = createRepair({ ...deps, changes, closing: closing.signal, onFetch, opener });
  return {
    async open(signal) {
      await until(opener.get, signal).catch(() => signal.throwIfAborted());
    },
    async current(signal, ref = null) {
      const base = await until(opener.get, signal);
      await until(() => fetch.refresh(base), signal);
      const state = await stateOf(base, deps.baseBranch);
      if (ref === null || ref === state.branch) return state;
      return { ...state, target: await refs.resolve(base, ref, signal) };
    },
    peek: async (signal) => await stateOf(await until(opener.get, signal), deps.baseBranch),
    repair: async (signal) => await until(repairOnce, signal),
    // Both change it under the same mutex, so their sum is odd while one of them does.
    epoch: () => fetch.epoch() + refEpoch,
    check: opener.check,
    close: () => closing.abort(),
  };
}

export interface Opener {
  /** What was opened is no longer there. */
  forget(): void;
  /** The base, opened if it is not open. One attempt at a time, shared by all who need it. */
  get(): Promise<OpenBase>;
  check(): Promise<string | null>;
}

function createOpener({ basePath, log }: BaseRepoDeps, closing: AbortSignal, open: () => Promise<OpenBase>): Opener {
  let base: OpenBase | null = null;
  let problem = 'The base repository is not ready yet';
  let opening: Promise<OpenBase> | null = null;
  let retrying = false;

  async function get(): Promise<OpenBase> {
    if (base !== null && (await isRepository(basePath))) return base;
    opening ??= attempt().finally(() => {
      opening = null;
    });
    return await opening;
  }

  async function attempt(): Promise<OpenBase> {
    base = null;
    try {
      base = await open();
      log.info({ bare: base.bare, branch: base.branch, remote: base.originUrl !== null }, 'base repository ready');
      return base;
    } catch (error) {
      problem = error instanceof WorkspaceError ? error.message : 'The base repository is not available';
      if (!closing.aborted) log.error({ err: error }, 'base repository not available');
      void retryLater();
      throw error;
    }
  }

  async function retryLater(): Promise<void> {
    if (retrying) return;
    retrying = true;
    try {
      while (base === null) {
        await wait(reopenMs, undefined, { ref: false, signal: closing });
        await get().catch(() => null); // Logged by the attempt itself; the loop goes on.
      }
    } catch {
      // Closed: nobody needs the base any longer.
    }
    retrying = false;
  }

  async function check(): Promise<string | null> {
    if (base === null) return problem;
    return (await isRepository(basePath)) ? null : 'The repository is gone from WORKSPACE_DIR';
  }

  return {
    get,
    check,
    forget() {
      base = null;
    },
  };
}

async function stateOf(base: OpenBase, wanted: string | null): Promise<BaseState> {
  const { path, originUrl, transport, branch: follows, gitDir } = base;
  const state = { path, gitDir, originUrl, transport, follows, target: null };
  const followed = await readRef(gitDir, `refs/heads/${follows}`);
  if (followed !== null) return { ...state, branch: follows, head: followed };
  const head = await readRef(gitDir, 'HEAD');
  if (wanted === null || head === null) return { ...state, branch: null, head };
  throw new WorkspaceError('The base repository has no branch of the name in BASE_BRANCH');
}
