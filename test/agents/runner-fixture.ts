import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type AgentRunnerOptions, createAgentRunner } from '../../src/agents/agent-runner.ts';
import type { EarlyRunner } from '../../src/agents/early-agents.ts';
import { providers } from '../../src/agents/registry.ts';
import { createRunRecorder } from '../../src/agents/run-recorder.ts';
import type { JobId, JobOutcome, JobSpec } from '../../src/jobs/job.ts';
import { createJobId } from '../../src/jobs/job-id.ts';
import type { AgentEvent, EndReason, Log } from '../../src/jobs/ports.ts';

const root = join(import.meta.dirname, '../..');
const fakeClaude = join(root, 'test/fixtures/agents/fake-claude.mjs');
export const realClaude = join(root, 'node_modules/.bin/claude');

export interface RunnerFixture extends AsyncDisposable {
  readonly runner: EarlyRunner;
  readonly runsDir: string;
  readonly workspacePath: string;
  /** What was logged as a warning or an error. */
  readonly complaints: readonly string[];
  /** Starts a run; `end` ends it from outside. */
  start(prompt: string, spec?: Partial<JobSpec>): StartedRun;
  run(prompt: string, spec?: Partial<JobSpec>): Promise<JobOutcome>;
}

export interface StartedRun {
  readonly id: JobId;
  readonly outcome: Promise<JobOutcome>;
  end(reason: EndReason): void;
}

const defaultSpec: JobSpec = {
  kind: 'execute',
  provider: 'claude',
  prompt: '',
  systemPrompt: null,
  agent: null,
  model: 'sonnet',
  effort: null,
  maxBudgetUsd: 5,
  timeoutMs: 60_000,
  metadata: null,
};

/** An agent runner with a directory of its own; by default the agent is the fake `claude`. */
export async function createRunnerFixture(changed: Partial<AgentRunnerOptions> = {}): Promise<RunnerFixture> {
  const dir = await mkdtemp(join(tmpdir(), 'agent-runner-'));
  const runsDir = join(dir, 'runs');
  const workspacePath = join(dir, 'workspace');
  await mkdir(workspacePath);
  const complaints: string[] = [];
  const quiet = (): void => {};
  const complain = (fields: object, message: string): void => {
    complaints.push('err' in fields ? `${message}: ${String(fields.err)}` : message);
  };
  const log: Log = { debug: quiet, info: quiet, warn: complain, error: complain };
  const recorder = createRunRecorder({ runsDir, log });
  const runner = createAgentRunner({
    runsDir,
    recorder,
    providers,
    bin: { claude: fakeClaude },
    sourceEnv: { PATH: process.env['PATH'], HOME: dir, ANTHROPIC_API_KEY: 'dummy', API_BEARER_TOKEN: 'secret' },
    allowEnv: [],
    graceMs: 5_000,
    maxOutputBytes: 1024 ** 3,
    log,
    clock: { now: () => Date.now() },
    ...changed,
  });
  const start: RunnerFixture['start'] = (prompt, spec = {}) => {
    const id = createJobId();
    const controller = new AbortController();
    const run = { id, spec: { ...defaultSpec, ...spec, prompt }, workspacePath };
    const outcome = runner.run(run, controller.signal);
    return { id, outcome, end: (reason) => controller.abort(reason) };
  };
  return {
    runner,
    runsDir,
    workspacePath,
    complaints,
    start,
    run: (prompt, spec) => start(prompt, spec).outcome,
    async [Symbol.asyncDispose]() {
      // The runner may still be removing what a run left; both may find a file gone.
      await rm(dir, { recursive: true, force: true, maxRetries: 20, retryDelay: 50 });
    },
  };
}

export async function collect(events: AsyncIterable<AgentEvent>): Promise<readonly AgentEvent[]> {
  const all: AgentEvent[] = [];
  for await (const event of events) all.push(event);
  return all;
}

export function textOf(events: readonly AgentEvent[]): string {
  return events.map((event) => (event.type === 'text' ? event.text : '')).join('');
}
