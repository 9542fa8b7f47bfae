import { expect, onTestFinished } from 'vitest';
import type { EarlyRunner } from '../../src/agents/early-agents.ts';
import { createWarmAgents, type WarmAgents, type WarmAgentsOptions } from '../../src/agents/warm-agents.ts';
import type { JobId, JobSpec } from '../../src/jobs/job.ts';
import { newJob } from '../contracts/job-builders.ts';
import {
  completed,
  createFakeWorkspaces,
  createScriptedRunner,
  silentLog,
  systemClock,
} from '../helpers/fake-ports.ts';
import { waitFor } from '../helpers/wait.ts';

export const gigabyte = 1024 ** 3;
export const chat: JobSpec = newJob({ spec: { kind: 'chat', model: 'sonnet' } }).spec;
/** Nothing here takes a core. */
const fast = { fillMs: 5, checkMs: 5, startMs: 0, backoffMs: 1 };

interface FakeAgent {
  readonly id: JobId;
  isCurrent: boolean;
  rssBytes: number;
  isDiscarded: boolean;
  end(): void;
}

export interface Fixture {
  readonly warm: WarmAgents;
  readonly agents: FakeAgent[];
  readonly made: readonly JobId[];
  readonly disposed: readonly JobId[];
  readonly warnings: object[];
  memory: number;
  head: string | null;
  /** Thrown at every look at the base. */
  headFault: Error | null;
  /** Thrown at the next starts. */
  fault: Error | null;
}

export interface Changes extends Partial<Pick<WarmAgentsOptions, 'size' | 'limits' | 'clock'>> {
  readonly create?: (signal: AbortSignal, id: JobId) => Promise<void>;
  readonly cannotWait?: true;
}

/** What keeps agents ready, with agents and workspaces that are nothing but names. */
export function createFixture({ create, cannotWait, limits, ...changed }: Changes = {}): Fixture {
  const workspaces = createFakeWorkspaces(create);
  const agents: FakeAgent[] = [];
  const state = {
    memory: 8 * gigabyte,
    head: null as string | null,
    fault: null as Error | null,
    headFault: null as Error | null,
  };
  const runner: EarlyRunner = {
    ...createScriptedRunner(async () => completed()),
    canUse: (spec, startedFor) => spec.model === startedFor.model,
    async startEarly({ id }) {
      if (state.fault !== null) throw state.fault;
      if (cannotWait) return null;
      const ended = Promise.withResolvers<void>();
      const agent = { id, isCurrent: true, rssBytes: 0, isDiscarded: false, end: ended.resolve };
      agents.push(agent);
      return {
        isCurrent: async () => agent.isCurrent,
        rssBytes: async () => agent.rssBytes,
        ended: ended.promise,
        async discard() {
          agent.isDiscarded = true;
          ended.resolve();
        },
      };
    },
  };
  const warnings: object[] = [];
  const head = async (): Promise<string | null> => {
    if (state.headFault !== null) throw state.headFault;
    return state.head;
  };
  const warm = createWarmAgents({
    ...{ size: 1, spec: chat, workspaces, runner, clock: systemClock },
    heads: { latest: head, known: head },
    availableMemory: () => state.memory,
    log: { ...silentLog, warn: (fields) => warnings.push(fields) },
    limits: { ...fast, ...limits },
    ...changed,
  });
  onTestFinished(() => warm.close());
  return Object.assign(state, { warm, agents, made: workspaces.made, disposed: workspaces.disposed, warnings });
}

export async function filled(fixture: Fixture, count = 1): Promise<void> {
  await waitFor(fixture.warm.ready, (ready) => ready === count, { what: `${count} agents to wait` });
}

export async function begun(changed: Changes = {}): Promise<Fixture> {
  const fixture = createFixture(changed);
  fixture.warm.begin();
  await filled(fixture, changed.size);
  return fixture;
}

export function reserved({ warm }: Fixture): JobId {
  const id = warm.reserve(chat);
  if (id === null) throw new Error('nothing is ready');
  return id;
}

/** Time for several looks: nothing tells of one after which nothing happened. */
export async function passes({ warm }: Fixture): Promise<void> {
  for (let turns = 0; turns < 10; turns += 1) await new Promise((resolve) => setTimeout(resolve, fast.fillMs));
  expect(warm.ready()).toBeLessThanOrEqual(2);
}
