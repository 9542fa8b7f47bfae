import { mkdir, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { BaseState } from './base-repo.ts';
import type { Snapshot } from './change-taker.ts';
import { createFilling, type FillingOptions, type Lists } from './pool-filling.ts';
import { createMembers, type MemberOptions } from './pool-members.ts';
import type { PreparedBy } from './workspace-meter.ts';

/** Clones that are ready before a job needs one. */
export interface Pool {
  /**
   * Moves a ready clone into an empty directory, at the commit of the base: one rename, and where the base has moved since, what
   * changed; or one that was used, once it is as if it were new. Null if there is none, or if it could not be made so; then the
   * directory is empty still.
   */
  take(path: string, state: BaseState, signal: AbortSignal): Promise<Taken | null>;
  /** A workspace was made for a job, however it was made. */
  noteBegin(): void;
  /** It is used no more. To be called before it is given back. */
  noteEnd(): void;
  /**
   * Takes the workspace of a job that is over out of sight: it serves another job once it is as if it were new. None of the
   * processes that worked in it may be left. The snapshot is the pool's then. False where that could not be, or there would be more clones
   * than the pool is large and jobs used at once lately: nothing has happened.
   */
  giveBack(path: string, snapshot: Snapshot): Promise<boolean>;
  /** Makes good what was taken, one after the other at low priority. Returns at once; does nothing before `begin`. */
  fill(): void;
  /** Removes all there is, also what a dead process left. */
  empty(): Promise<void>;
  /** From now on the pool fills. */
  begin(): Promise<void>;
  /** How many are ready: more than its size for a while, after more jobs at once. */
  ready(): number;
  close(): Promise<void>;
}

export interface Taken {
  readonly snapshot: Snapshot;
  readonly by: Exclude<PreparedBy, 'clone'>;
}

export interface PoolOptions extends Omit<MemberOptions, 'directory' | 'poolName'>, FillingOptions {
  readonly jobsDir: string;
}

export const poolName = '.pool';

export function createPool(options: PoolOptions): Pool {
  const { size, removal, taker } = options;
  const directory = join(options.jobsDir, poolName);
  const members = createMembers({ ...options, directory, poolName });
  const lists: Lists = { ready: [], used: [] };
  const filling = createFilling(options, members, lists);

  async function takeAny(state: BaseState, signal: AbortSignal) {
    const fresh = lists.ready.findIndex((member) => !members.isStale(member, state.head));
    const [member] = lists.ready.splice(Math.max(0, fresh), 1);
    if (member !== undefined) {
      if (fresh !== -1) return { member, by: 'pool' } as const;
      return { member: await members.bring(member, state, 'now', signal), by: 'update' } as const;
    }
    // The one of which most is still in memory.
    const last = lists.used.pop();
    return last && ({ member: await members.renew(last, state, 'now', signal), by: 'renewal' } as const);
  }

  return {
    fill: filling.fill,
    noteBegin: filling.noteBegin,
    noteEnd: filling.noteEnd,
    async take(path, state, signal) {
      if (state.target !== null) return null;
      const { member = null, by } = (await takeAny(state, signal)) ?? {};
      const snapshot = member && (await members.hand(member, path));
      return snapshot && by ? { snapshot, by } : null;
    },
    async giveBack(path, snapshot) {
      const waiting = lists.ready.length + lists.used.length;
      if (size === 0 || !filling.isOpen() || waiting >= size + filling.spare()) return false;
      const used = await members.receive(path, snapshot);
      if (used === null) return false;
      lists.used.push(used);
      filling.fill();
      return true;
    },
    async empty() {
      await filling.pause();
      const all = [...lists.ready.splice(0), ...lists.used.splice(0)];
      await Promise.all(all.map(({ snapshot }) => taker.forget(snapshot)));
      const names = await readdir(directory).catch(() => []);
      await Promise.all(names.map((name) => removal.discard(join(poolName, name))));
    },
    async begin() {
      if (size > 0) await mkdir(directory, { recursive: true, mode: 0o700 });
      filling.begin();
    },
    ready: () => lists.ready.length,
    close: filling.close,
  };
}
