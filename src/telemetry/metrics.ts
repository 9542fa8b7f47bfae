import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';
import type { FinishedJob } from '../jobs/job.ts';
import type { JobStats } from '../jobs/job-service.ts';
import { createWorkspaceMetrics, type WorkspaceMetrics, type WorkspaceReadings } from './workspace-metrics.ts';

/** The service's figures in Prometheus' text format. No label holds an id, so the number of series is bounded. */
export interface Metrics {
  accepted(route: 'execute' | 'chat'): void;
  refused(reason: string): void;
  finished(job: FinishedJob): void;
  /** Prometheus text and its content type. */
  render(): Promise<{ readonly contentType: string; readonly text: string }>;
}

export interface ServiceMetrics extends Metrics {
  readonly workspaces: WorkspaceMetrics;
}

export interface MetricsDeps {
  readonly version: string;
  readonly stats: () => JobStats;
  /** How many agents wait for a job; absent: none ever do. */
  readonly warmAgents?: () => number;
  /** No gauge tells of workspaces where this is absent. */
  readonly workspaces?: WorkspaceReadings;
}

/** Agent runs take from a second to an hour. */
const runSeconds = [1, 2, 5, 10, 30, 60, 120, 300, 600, 1200, 2700, 3600];
const waitSeconds = [0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60, 300, 900, 3600];

export function createMetrics({ workspaces: readings, ...state }: MetricsDeps): ServiceMetrics {
  const registry = new Registry();
  const registers = [registry];
  collectDefaultMetrics({ register: registry });
  const accepted = new Counter({
    name: 'agent_jobs_accepted_total',
    help: 'Jobs admitted',
    labelNames: ['route'],
    registers,
  });
  const refused = new Counter({
    name: 'agent_jobs_rejected_total',
    help: 'Requests refused',
    labelNames: ['reason'],
    registers,
  });
  const finished = new Counter({
    name: 'agent_jobs_finished_total',
    help: 'Jobs that ended, by status and reason',
    labelNames: ['status', 'reason', 'provider'],
    registers,
  });
  const cost = new Counter({
    name: 'agent_cost_usd_total',
    help: 'What the runs cost',
    labelNames: ['provider'],
    registers,
  });
  const run = new Histogram({
    name: 'agent_run_duration_seconds',
    help: 'From start to end',
    buckets: runSeconds,
    registers,
  });
  const wait = new Histogram({
    name: 'agent_queue_wait_seconds',
    help: 'From admission to start',
    buckets: waitSeconds,
    registers,
  });
  const workspaces = createWorkspaceMetrics(registry, readings);
  addState(registry, state);

  return {
    workspaces,
    accepted: (route) => accepted.inc({ route }),
    refused: (reason) => refused.inc({ reason }),
    finished(job) {
      workspaces.finished(job);
      const { status, outcome, spec, createdAt, startedAt, finishedAt } = job;
      finished.inc({ status, reason: outcome.reason, provider: spec.provider });
      cost.inc({ provider: spec.provider }, amountOf(outcome.report.costUsd));
      if (startedAt === null || finishedAt === null) return;
      wait.observe(Math.max(0, startedAt - createdAt) / 1000);
      // When a run that was lost ended, nobody knows: its job was ended when that was found out.
      if (outcome.reason !== 'lost') run.observe(Math.max(0, finishedAt - startedAt) / 1000);
    },
    render: async () => ({ contentType: registry.contentType, text: await registry.metrics() }),
  };
}

function addState(registry: Registry, { version, stats, warmAgents = () => 0 }: Omit<MetricsDeps, 'workspaces'>): void {
  const gauge = gaugesIn(registry);
  gauge('agent_jobs_running', 'Jobs that run now', () => stats().active);
  gauge('agent_jobs_queued', 'Jobs that wait', () => stats().queued);
  gauge('agent_jobs_capacity', 'Jobs that can run at once', () => stats().capacity);
  gauge('agent_draining', '1 while the service is shutting down', () => Number(stats().draining));
  gauge('agent_warm_agents', 'Agents that were started ahead of a job and wait for one', warmAgents);
  new Gauge({ name: 'agent_build_info', help: 'Always 1', labelNames: ['version'], registers: [registry] }).set(
    { version },
    1,
  );
}

/** An agent printed it: what is no amount would break the counter. */
function amountOf(costUsd: number | null): number {
  return costUsd !== null && Number.isFinite(costUsd) && costUsd > 0 ? costUsd : 0;
}

/** Gauges that are read when they are asked for. */
function gaugesIn(registry: Registry) {
  return (name: string, help: string, read: () => number): void => {
    const metric: Gauge = new Gauge({ name, help, registers: [registry], collect: () => metric.set(read()) });
  };
}
