import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { audit, type Faults } from './chaos-audit.ts';
import { type Ledger, submitUntil } from './chaos-load.ts';
import { startChaosService, warmUp } from './chaos-service.ts';

/** Services side by side, each with a directory of its own: most of a round is one of them starting. */
const lanes = 2;
const clients = 2;
/** From the moment that the service listens to its death: up to this, at random. */
const maxLifeMs = 800;
/** The share of kills that meet a service that is still starting, and how long it had by then at most. */
const early = 0.2;
const maxStartMs = 600;

export interface ChaosReport {
  readonly kills: number;
  readonly acknowledged: number;
  readonly byStatus: Readonly<Record<string, number>>;
  /** Jobs that were started more than once because they might be. */
  readonly startedAgain: number;
  readonly faults: Faults;
}

/**
 * Submits without pause while the service is killed at random points, again and again; then lets it end its work, and compares what
 * was acknowledged and what the agents themselves wrote down with what the service says. `directory` is empty.
 */
export async function runChaos(directory: string, kills: number): Promise<ChaosReport> {
  await warmUp(directory);
  const reports = await Promise.all(
    Array.from({ length: lanes }, async (_, lane) => {
      const own = join(directory, String(lane));
      await mkdir(own);
      return await runLane(directory, own, Math.floor((kills + lane) / lanes));
    }),
  );
  return reports.reduce(joined);
}

async function runLane(shared: string, directory: string, kills: number): Promise<ChaosReport> {
  const file = join(directory, 'ledger');
  await writeFile(file, '');
  const ledger: Ledger = { wishes: [], open: [], missing: [] };
  for (let round = 0; round < kills; round += 1) await live(shared, directory, ledger);
  const service = startChaosService(shared, directory);
  try {
    const { jobs, faults } = await audit(service, ledger.wishes, () => readFile(file, 'utf8'));
    const byStatus: Record<string, number> = {};
    for (const { status } of jobs.values()) byStatus[status] = (byStatus[status] ?? 0) + 1;
    const startedAgain = [...jobs.values()].filter(({ attempt }) => attempt > 1).length;
    const missing = [...ledger.missing, ...faults.missing];
    return { kills, acknowledged: jobs.size, byStatus, startedAgain, faults: { ...faults, missing } };
  } finally {
    await service.kill();
  }
}

/** One life of a service. */
async function live(shared: string, directory: string, ledger: Ledger): Promise<void> {
  const service = startChaosService(shared, directory);
  if (Math.random() < early) {
    await delay(Math.random() * maxStartMs);
    return await service.kill();
  }
  await service.url;
  const stop = new AbortController();
  const load = Array.from({ length: clients }, () => submitUntil(service, stop.signal, ledger));
  await delay(Math.random() * maxLifeMs);
  await service.kill();
  stop.abort();
  await Promise.all(load);
}

function joined(one: ChaosReport, other: ChaosReport): ChaosReport {
  const byStatus = { ...one.byStatus };
  for (const [status, count] of Object.entries(other.byStatus)) byStatus[status] = (byStatus[status] ?? 0) + count;
  const both = (name: keyof Faults): readonly string[] => [...one.faults[name], ...other.faults[name]];
  return {
    kills: one.kills + other.kills,
    acknowledged: one.acknowledged + other.acknowledged,
    byStatus,
    startedAgain: one.startedAgain + other.startedAgain,
    faults: {
      missing: both('missing'),
      ranTooOften: both('ranTooOften'),
      overlapped: both('overlapped'),
      notRun: both('notRun'),
      tooEarly: both('tooEarly'),
      outOfOrder: both('outOfOrder'),
      brokenEvents: both('brokenEvents'),
    },
  };
}
