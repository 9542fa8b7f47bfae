import type { BaseRepo } from './base-repo.ts';

/** The commit that a clone made now would start from; null in an empty repository. Both reject as `create` does. */
export interface BaseHeads {
  /** After a look at the remote, as `create` takes one. */
  latest(signal: AbortSignal): Promise<string | null>;
  /** Without one. */
  known(signal: AbortSignal): Promise<string | null>;
}

export function createHeads(base: BaseRepo): BaseHeads {
  return {
    latest: async (signal) => (await base.current(signal)).head,
    known: async (signal) => (await base.peek(signal)).head,
  };
}
