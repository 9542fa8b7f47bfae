import { randomBytes } from 'node:crypto';
import { mkdir, readdir, rename } from 'node:fs/promises';
import { join } from 'node:path';
import type { Log } from '../jobs/ports.ts';
import type { BaseRepo, BaseState } from './base-repo.ts';
import type { ChangeTaker, Snapshot } from './change-taker.ts';
import { type Contents, isWhole } from './contents.ts';
import { makeDirectory, type Preparation } from './preparation.ts';
import type { Removal } from './removal.ts';

/** Clones that are ready before a job needs one. */
export interface Pool {
  /**
   * Moves a ready clone into an empty directory, at the commit of the base: one rename, and where the base has moved since, what
   * changed. Null if there is none, or if it could not be brought up to date; then the directory is empty still.
   */
  take(path: string, state: BaseState, signal: AbortSignal): Promise<Snapshot | null>;
  /** Makes good what was taken, one after the other at low priority. Returns at once; does nothing before `begin`. */
  fill(): void;
  /** Removes all there is, also what a dead process left. */
  empty(): Promise<void>;
  /** From now on the pool fills. */
  begin(): Promise<void>;
  /** How many are ready. */
  ready(): number;
  close(): Promise<void>;
}

export interface PoolOptions {
  readonly size: number;
  readonly jobsDir: string;
  readonly base: BaseRepo;
  /** At the priority of a job that waits. */
  readonly prepare: Preparation;
  /** At low priority. */
  readonly prepareLater: Preparation;
  readonly removal: Removal;
  readonly taker: ChangeTaker;
  readonly contents: Contents;
  /** Brings what clones are copied from to the base. Never rejects. */
  readonly renew: () => Promise<void>;
  /** True while jobs make clones for themselves: the pool then leaves disk and processor to them. */
  readonly isBusy: () => boolean;
  /** False while the disk is too full for clones that nobody has asked for. */
  readonly hasRoom: () => Promise<boolean>;
  readonly log: Log;
}

interface Member {
  readonly name: string;
  readonly path: string;
  readonly state: BaseState;
  readonly snapshot: Snapshot;
}

export const poolName = '.pool';

export function createPool(options: PoolOptions): Pool {
  const { size, removal, taker, contents } = options;
  const directory = join(options.jobsDir, poolName);
  const members: Member[] = [];
  const filling = createFilling(options, directory, members);
  return {
    fill: filling.fill,
    async take(path, state, signal) {
      if (state.target !== null || members.length === 0) return null;
      const fresh = members.findIndex((member) => !isStale(member, state.head, contents));
      const [member] = members.splice(Math.max(0, fresh), 1);
      if (member === undefined) return null;
      if (!isStale(member, state.head, contents)) return await hand(options, member, path);
      const brought = await bring(options, { ...member, state }, options.prepare, signal);
      return brought === null ? null : await hand(options, brought, path);
    },
    async empty() {
      await filling.pause();
      await Promise.all(members.splice(0).map(({ snapshot }) => taker.forget(snapshot)));
      const names = await readdir(directory).catch(() => []);
      await Promise.all(names.map((name) => removal.discard(join(poolName, name))));
    },
    async begin() {
      if (size > 0) await mkdir(directory, { recursive: true, mode: 0o700 });
      filling.begin();
    },
    ready: () => members.length,
    close: filling.close,
  };
}

/** Keeps the list of members full and fresh, one clone at a time. */
function createFilling(options: PoolOptions, directory: string, members: Member[]) {
  const { size, base, log, isBusy, hasRoom, contents } = options;
  const closing = new AbortController();
  let begun = false;
  let filling: Promise<void> | null = null;
  const goesOn = (): boolean => begun && !isBusy() && !closing.signal.aborted;

  /** A member is out of the list while it is brought up to date: nobody takes what is being changed. */
  async function refresh(): Promise<void> {
    const state = await base.peek(closing.signal);
    const nextStale = () => members.findIndex((member) => isStale(member, state.head, contents));
    for (let at = nextStale(); at !== -1 && goesOn(); at = nextStale()) {
      for (const member of members.splice(at, 1)) {
        const fresh = await bring(options, { ...member, state }, options.prepareLater, closing.signal);
        if (fresh !== null) members.push(fresh);
      }
    }
  }

  async function fillUp(): Promise<void> {
    try {
      await options.renew();
      await refresh();
      while (goesOn() && members.length < size && (await hasRoom()))
        members.push(await make(options, directory, closing.signal));
    } catch (error) {
      // Whoever takes the next one tries again.
      if (!closing.signal.aborted) log.warn({ err: error }, 'no clone could be made ready');
    }
    filling = null;
  }

  function fill(): void {
    if (goesOn()) filling ??= fillUp();
  }

  return {
    fill,
    begin(): void {
      begun = true;
      fill();
    },
    async pause(): Promise<void> {
      begun = false;
      await filling;
    },
    async close(): Promise<void> {
      closing.abort(new Error('the pool is closed'));
      await filling;
    },
  };
}

async function make(options: PoolOptions, directory: string, signal: AbortSignal): Promise<Member> {
  const state = await options.base.peek(signal);
  const own = randomBytes(12).toString('hex');
  const place = { name: join(poolName, own), path: join(directory, own), state };
  await makeDirectory(place.path);
  try {
    return { ...place, snapshot: await options.prepareLater.make(place, signal) };
  } catch (error) {
    await options.removal.discard(place.name);
    throw error;
  }
}

/** The member at the commit of the base; null if that failed, and then it is gone. */
async function bring(
  { removal, taker, log }: PoolOptions,
  member: Member,
  preparation: Preparation,
  signal: AbortSignal,
): Promise<Member | null> {
  try {
    return { ...member, snapshot: await preparation.bring(member, signal) };
  } catch (error) {
    if (!signal.aborted) log.warn({ err: error }, 'a ready clone could not be brought up to date, it is given up');
    await removal.discard(member.name);
    return null;
  } finally {
    await taker.forget(member.snapshot);
  }
}

/** Moves it; null if somebody has meddled with it, and then it is gone. */
async function hand({ removal, taker, log }: PoolOptions, member: Member, path: string): Promise<Snapshot | null> {
  try {
    await rename(member.path, path);
    await taker.trust(member.snapshot);
    return member.snapshot;
  } catch (error) {
    log.warn({ err: error }, 'a ready clone could not be handed out, it is given up');
    await removal.discard(member.name);
    await taker.forget(member.snapshot);
    return null;
  }
}

function isStale({ snapshot }: Member, wanted: string | null, contents: Contents): boolean {
  if (snapshot.baseCommit !== wanted) return true;
  return snapshot.filled !== undefined && !isWhole(snapshot.filled, contents.revision());
}
