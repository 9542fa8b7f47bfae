/** How a job came to its workspace: a ready clone as it was, one that was brought to the base's commit, a clone of its own. */
export type PreparedBy = 'pool' | 'update' | 'clone';

/** Told what workspaces cost, for metrics. Durations in ms. */
export interface WorkspaceMeter {
  /** How long a change of the base waited for another one. */
  lockWaited(ms: number): void;
  /** From the base's commit being known to a workspace that an agent can be let into. */
  prepared(by: PreparedBy, ms: number): void;
}

export const noMeter: WorkspaceMeter = { lockWaited: () => {}, prepared: () => {} };
