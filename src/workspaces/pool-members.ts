import { randomBytes } from 'node:crypto';
import { rename } from 'node:fs/promises';
import { join } from 'node:path';
import type { Log } from '../jobs/ports.ts';
import type { BaseState } from './base-repo.ts';
import type { ChangeTaker, Snapshot } from './change-taker.ts';
import { type Contents, isWhole } from './contents.ts';
import { makeDirectory, type Preparation } from './preparation.ts';
import type { Removal } from './removal.ts';

export interface MemberOptions {
  /** The directory of the pool, and its name in JOBS_DIR. */
  readonly directory: string;
  readonly poolName: string;
  /** At the priority of a job that waits. */
  readonly prepare: Preparation;
  /** At low priority. */
  readonly prepareLater: Preparation;
  readonly removal: Removal;
  readonly taker: ChangeTaker;
  readonly contents: Contents;
  readonly log: Log;
}

/** A clone in the directory of the pool that belongs to no job: ready for one, or used by one. */
export interface Member {
  readonly name: string;
  readonly path: string;
  readonly snapshot: Snapshot;
}

export interface Members {
  /** A new one, at low priority. Rejects with anything. */
  make(state: BaseState, signal: AbortSignal): Promise<Member>;
  /** The member at the commit of the base; null if that failed, and then it is gone. */
  bring(member: Member, state: BaseState, priority: 'now' | 'later', signal: AbortSignal): Promise<Member | null>;
  /** The used one as if it were new; null if that could not be, and then it is gone. */
  renew(used: Member, state: BaseState, priority: 'now' | 'later', signal: AbortSignal): Promise<Member | null>;
  /** Takes the workspace of a job into the pool's directory; null if it could not be moved. */
  receive(path: string, snapshot: Snapshot): Promise<Member | null>;
  /** Moves it; null if somebody has meddled with it, and then it is gone. */
  hand(member: Member, path: string): Promise<Snapshot | null>;
  drop(member: Member): Promise<void>;
  /** True if it is not at this commit, or lacks something of it. */
  isStale(member: Member, wanted: string | null): boolean;
}

export function createMembers(options: MemberOptions): Members {
  const { removal, taker, contents, log } = options;
  const preparations = { now: options.prepare, later: options.prepareLater };

  async function drop({ name, snapshot }: Member): Promise<void> {
    await Promise.all([removal.discard(name), taker.forget(snapshot)]);
  }

  return {
    make: async (state, signal) => await make(options, state, signal),
    async bring(member, state, priority, signal) {
      const work = async () => await preparations[priority].bring({ ...member, state }, signal);
      return await change(options, { member, work, what: 'a ready clone could not be brought up to date' }, signal);
    },
    async renew(used, state, priority, signal) {
      const work = async () => await preparations[priority].renew({ ...used, state }, used.snapshot, signal);
      return await change(options, { member: used, work, what: 'a used clone could not be made good' }, signal);
    },
    async receive(path, snapshot) {
      const place = newPlace(options);
      try {
        await rename(path, place.path);
        return { ...place, snapshot };
      } catch (error) {
        log.debug({ err: error }, 'a used clone could not be moved');
        return null;
      }
    },
    async hand(member, path) {
      try {
        await rename(member.path, path);
        await taker.trust(member.snapshot);
        return member.snapshot;
      } catch (error) {
        log.warn({ err: error }, 'a ready clone could not be handed out, it is given up');
        await drop(member);
        return null;
      }
    },
    drop,
    isStale({ snapshot }, wanted) {
      if (snapshot.baseCommit !== wanted) return true;
      return snapshot.filled !== undefined && !isWhole(snapshot.filled, contents.revision());
    },
  };
}

function newPlace({ directory, poolName }: MemberOptions) {
  const own = randomBytes(12).toString('hex');
  return { name: join(poolName, own), path: join(directory, own) };
}

async function make(options: MemberOptions, state: BaseState, signal: AbortSignal): Promise<Member> {
  const { prepareLater, removal } = options;
  const place = { ...newPlace(options), state };
  await makeDirectory(place.path);
  try {
    return { name: place.name, path: place.path, snapshot: await prepareLater.make(place, signal) };
  } catch (error) {
    await removal.discard(place.name);
    throw error;
  }
}

interface Change {
  readonly member: Member;
  readonly work: () => Promise<Snapshot | null>;
  /** What it means that the work failed. */
  readonly what: string;
}

/** Null if that failed, and then the member is gone. */
async function change(
  { removal, taker, log }: MemberOptions,
  { member, work, what }: Change,
  signal: AbortSignal,
): Promise<Member | null> {
  let snapshot: Snapshot | null = null;
  try {
    snapshot = await work();
  } catch (error) {
    if (!signal.aborted) log.warn({ err: error }, `${what}, it is given up`);
  }
  if (snapshot === null) await removal.discard(member.name);
  // Up to here the old one was needed. Nobody waits for its end, least of all a job.
  void taker.forget(member.snapshot);
  return snapshot === null ? null : { ...member, snapshot };
}
