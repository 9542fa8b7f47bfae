import { describe, expect, test } from 'vitest';
import { type FinalStatus, type FinishedJob, type JobReason, outcomeWithoutAgent } from '../../src/jobs/job.ts';
import type { JobStats } from '../../src/jobs/job-service.ts';
import { createMetrics } from '../../src/telemetry/metrics.ts';
import type { WorkspaceReadings } from '../../src/telemetry/workspace-metrics.ts';
import { newJob } from '../contracts/job-builders.ts';

const idle: JobStats = { active: 0, queued: 0, capacity: 10, draining: false };

function create(stats: () => JobStats = () => idle, workspaces?: WorkspaceReadings) {
  const metrics = createMetrics({ version: '1.2.3', stats, ...(workspaces !== undefined && { workspaces }) });
  /** The samples of the text format, by name and labels. */
  const samples = async (): Promise<Map<string, number>> => {
    const { text } = await metrics.render();
    const lines = text.split('\n').filter((line) => line !== '' && !line.startsWith('#'));
    return new Map(
      lines.map((line) => {
        const match = /^([a-zA-Z_:][\w:]*(?:\{(?:\w+="(?:[^"\\\n]|\\.)*",?)*\})?) (\S+)$/.exec(line);
        if (match?.[1] === undefined) throw new Error(`not a sample: ${line}`);
        return [match[1], match[2] === '+Inf' ? Number.POSITIVE_INFINITY : Number(match[2])];
      }),
    );
  };
  return { ...metrics, samples };
}

interface Ended {
  readonly status?: FinalStatus;
  readonly reason?: JobReason;
  readonly costUsd?: number | null;
  readonly times?: readonly [created: number, started: number | null, finished: number];
}

function finished({
  status = 'completed',
  reason = 'ok',
  costUsd = null,
  times = [0, 2_000, 9_000],
}: Ended = {}): FinishedJob {
  const outcome = outcomeWithoutAgent(status, reason, '');
  const [createdAt, startedAt, finishedAt] = times;
  return {
    ...newJob({ createdAt }),
    ...{ seq: 1, status, attempt: 1, startedAt, finishedAt, queuePosition: null },
    outcome: { ...outcome, report: { ...outcome.report, costUsd } },
  };
}

describe('the metrics', () => {
  test('are Prometheus text: every sample can be read, and has a help and a type', async () => {
    const { render, samples, finished: count, accepted, refused } = create();
    accepted('execute');
    refused('queue_full');
    count(finished({ costUsd: 0.5 }));
    const { contentType, text } = await render();
    expect(contentType).toMatch(/^text\/plain; version=0\.0\.4/);
    const described = new Set([...text.matchAll(/^# TYPE (\S+) \S+$/gm)].map(([, name]) => name));
    for (const sample of (await samples()).keys()) {
      const name = sample.replace(/\{.*/, '');
      expect(described.has(name) || described.has(name.replace(/_(bucket|sum|count)$/, ''))).toBe(true);
    }
  });

  test('count what was admitted, refused and ended, by why', async () => {
    const { samples, accepted, refused, finished: count } = create();
    accepted('execute');
    accepted('chat');
    accepted('chat');
    refused('queue_full');
    count(finished());
    count(finished());
    count(finished({ status: 'cancelled', reason: 'client_gone' }));
    const read = await samples();
    expect(read.get('agent_jobs_accepted_total{route="chat"}')).toBe(2);
    expect(read.get('agent_jobs_accepted_total{route="execute"}')).toBe(1);
    expect(read.get('agent_jobs_rejected_total{reason="queue_full"}')).toBe(1);
    const ended = 'agent_jobs_finished_total{status=';
    expect(read.get(`${ended}"completed",reason="ok",provider="claude"}`)).toBe(2);
    expect(read.get(`${ended}"cancelled",reason="client_gone",provider="claude"}`)).toBe(1);
  });

  test('tell the state of now each time they are read', async () => {
    let stats: JobStats = { active: 3, queued: 4, capacity: 10, draining: false };
    const { samples } = create(() => stats);
    const gauges = async () => {
      const read = await samples();
      return ['agent_jobs_running', 'agent_jobs_queued', 'agent_jobs_capacity', 'agent_draining'].map((name) =>
        read.get(name),
      );
    };
    expect(await gauges()).toEqual([3, 4, 10, 0]);
    stats = { active: 0, queued: 0, capacity: 10, draining: true };
    expect(await gauges()).toEqual([0, 0, 10, 1]);
    expect((await samples()).get('agent_build_info{version="1.2.3"}')).toBe(1);
  });

  test('measure the wait and the run in seconds, and of a job that never started neither', async () => {
    const { samples, finished: count } = create();
    count(finished({ times: [0, 2_000, 9_000] }));
    count(finished({ status: 'cancelled', reason: 'cancelled', times: [0, null, 9_000] }));
    const read = await samples();
    expect([read.get('agent_queue_wait_seconds_sum'), read.get('agent_queue_wait_seconds_count')]).toEqual([2, 1]);
    expect([read.get('agent_run_duration_seconds_sum'), read.get('agent_run_duration_seconds_count')]).toEqual([7, 1]);
    expect(read.get('agent_run_duration_seconds_bucket{le="5"}')).toBe(0);
    expect(read.get('agent_run_duration_seconds_bucket{le="10"}')).toBe(1);
  });

  test('take a clock that was set back for no time', async () => {
    const { samples, finished: count } = create();
    count(finished({ times: [5_000, 2_000, 1_000] }));
    expect((await samples()).get('agent_run_duration_seconds_sum')).toBe(0);
  });

  test.each([-1, Number.NaN, Number.POSITIVE_INFINITY])(
    'take no cost of %s from an agent that says so',
    async (costUsd) => {
      const { samples, finished: count } = create();
      count(finished({ costUsd: 0.25 }));
      count(finished({ costUsd }));
      count(finished({ costUsd: 0.5 }));
      const read = await samples();
      expect(read.get('agent_cost_usd_total{provider="claude"}')).toBe(0.75);
      expect(read.get('agent_run_duration_seconds_count')).toBe(3);
    },
  );

  test('do not grow with the number of jobs', async () => {
    const { samples, finished: count } = create();
    count(finished({ costUsd: 1 }));
    const before = (await samples()).size;
    for (let n = 0; n < 1_000; n += 1) count(finished({ costUsd: n }));
    expect((await samples()).size).toBe(before);
  });

  test('tell what workspaces cost, by kind, and what jobs took on disk where somebody looked', async () => {
    const { samples, workspaces, finished: count } = create();
    workspaces.lockWaited(250);
    workspaces.prepared('pool', 2);
    workspaces.prepared('clone', 4_000);
    workspaces.removed(50);
    const job = finished();
    count(job);
    const report = { ...job.outcome.report, diskBytes: 3 * 1024 ** 2 };
    count({ ...job, outcome: { ...job.outcome, report } });
    const read = await samples();
    expect(read.get('agent_git_lock_wait_seconds_sum')).toBe(0.25);
    expect(read.get('agent_workspace_prepare_seconds_sum{kind="pool"}')).toBe(0.002);
    expect(read.get('agent_workspace_prepare_seconds_count{kind="clone"}')).toBe(1);
    expect(read.get('agent_workspace_cleanup_seconds_sum')).toBe(0.05);
    expect(read.get('agent_job_disk_bytes_count')).toBe(1);
    expect(read.get('agent_job_disk_bytes_bucket{le="4194304"}')).toBe(1);
    expect(read.get('agent_job_disk_bytes_bucket{le="1048576"}')).toBe(0);
  });

  test('read what workspaces are like now, also where a figure cannot be told', async () => {
    let pending = 2;
    const { samples } = create(() => idle, {
      poolReady: () => 4,
      removalsPending: () => pending,
      removalsQuarantined: () => 1,
      jobBytes: () => 5_000,
      freeBytes: async () => Number.NaN,
    });
    pending = 3;
    const read = await samples();
    const names = ['workspace_pool_ready', 'removals_pending', 'removals_quarantined', 'jobs_disk_bytes'];
    expect(names.map((name) => read.get(`agent_${name}`))).toEqual([4, 3, 1, 5_000]);
    expect(read.get('agent_workspace_disk_free_bytes')).toBeNaN();
  });
});
