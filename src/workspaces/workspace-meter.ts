/**
 * How a job came to its workspace: a ready clone as it was, one that was brought to the base's commit, one that was used and made
 * good while the job waited, a clone of its own.
 */
export type PreparedBy = 'pool' | 'update' | 'renewal' | 'clone';

/** Told what workspaces cost, for metrics. Durations in ms. */
export interface WorkspaceMeter {
  /** How long a change of the base waited for another one. */
  lockWaited(ms: number): void;
  /** From the base's commit being known to a workspace that an agent can be let into. */
  prepared(by: PreparedBy, ms: number): void;
  /** From being put in the trash, or tried once more, until a workspace was gone. */
  removed(ms: number): void;
}

/** What workspaces are like now. */
export interface WorkspaceFigures {
  readonly poolReady: number;
  readonly removalsPending: number;
  readonly removalsQuarantined: number;
}

export const noMeter: WorkspaceMeter = { lockWaited: () => {}, prepared: () => {}, removed: () => {} };
export const noFigures: WorkspaceFigures = { poolReady: 0, removalsPending: 0, removalsQuarantined: 0 };
