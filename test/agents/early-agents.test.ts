import { copyFile, readdir, readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { EarlyAgent } from '../../src/agents/early-agents.ts';
import type { JobId, JobSpec } from '../../src/jobs/job.ts';
import { createJobId } from '../../src/jobs/job-id.ts';
import { supervisorFile } from '../../src/process/choose-containment.ts';
import { livingProcesses } from '../../src/process/process-table.ts';
import { createSupervisorContainment } from '../../src/process/supervisor-containment.ts';
import { type MessagesApi, startMessagesApi } from '../fixtures/messages-api.ts';
import { waitFor } from '../helpers/wait.ts';
import { collect, createRunnerFixture, type RunnerFixture, realClaude, textOf } from './runner-fixture.ts';

const never = new AbortController().signal;
const chat: JobSpec = {
  kind: 'chat',
  provider: 'claude',
  prompt: '',
  systemPrompt: null,
  agent: null,
  model: 'sonnet',
  effort: null,
  maxBudgetUsd: 2,
  timeoutMs: 60_000,
  metadata: null,
};

let api: MessagesApi;
let fixture: RunnerFixture;

beforeAll(async () => {
  api = await startMessagesApi();
  fixture = await createRunnerFixture({
    bin: { claude: realClaude },
    containment: createSupervisorContainment({ file: supervisorFile }),
    sourceEnv: { PATH: process.env['PATH'], ANTHROPIC_API_KEY: 'dummy', ANTHROPIC_BASE_URL: api.url },
  });
});
afterAll(async () => {
  await fixture[Symbol.asyncDispose]();
  await api.close();
});

let id: JobId;
beforeEach(() => {
  id = createJobId();
});

async function startEarly(startedFor = chat): Promise<EarlyAgent> {
  const early = await fixture.runner.startEarly({ id, spec: startedFor, workspacePath: fixture.workspacePath });
  if (early === null) throw new Error('agents cannot be started early here');
  return early;
}

function run(prompt: string, changed: Partial<JobSpec> = {}, signal = never) {
  const spec = { ...chat, ...changed, prompt };
  return fixture.runner.run({ id, spec, workspacePath: fixture.workspacePath }, signal);
}

/** Of the CLI's, by the mark that each of them carries. */
async function processesOf(job: JobId): Promise<readonly number[]> {
  const all = (await livingProcesses()) ?? [];
  const marked = await Promise.all(
    all.map(async ({ pid }) => (await readFile(`/proc/${pid}/environ`, 'utf8').catch(() => '')).includes(job)),
  );
  return all.filter((_, i) => marked[i]).map(({ pid }) => pid);
}

async function printed(text: string): Promise<void> {
  const log = join(fixture.runsDir, id, 'stdout.log');
  await waitFor(
    () => readFile(log, 'utf8').catch(() => ''),
    (output) => output.includes(text),
  );
}

describe('an agent that was started before its job', { timeout: 120_000 }, () => {
  test('carries out the job: system prompt, streamed text, cost, and no second process', async () => {
    const early = await startEarly();
    await printed('session_title');
    const before = await processesOf(id);
    const asked = api.requests.length;
    const outcome = run('say: from the one that waited', { systemPrompt: '--mark of the caller' });
    const events = await collect(fixture.runner.follow(id, never));
    expect(before.length).toBeGreaterThan(0);
    const { report, ...verdict } = await outcome;
    expect(verdict).toEqual({ status: 'completed', reason: 'ok', error: null });
    expect(report).toMatchObject({ text: 'from the one that waited', numTurns: 1, exitCode: 0 });
    expect(report.costUsd).toBeGreaterThan(0);
    expect(textOf(events)).toBe(report.text);
    expect(JSON.stringify(api.requests.slice(asked).map(({ body }) => body))).toContain('--mark of the caller');
    await early.ended;
    expect(await processesOf(id)).toEqual([]);
    expect(await readdir(join(fixture.runsDir, id))).not.toContain('config');
  });

  test('asks the model what a cold one asks, word for word', async () => {
    const systemPrompt = 'Be brief.\n"quoted" and ünïcode';
    const bodies: string[] = [];
    for (const isEarly of [true, false]) {
      id = createJobId();
      if (isEarly) await startEarly().then(() => printed('session_title'));
      const asked = api.requests.length;
      expect(await run('say: same', { systemPrompt })).toMatchObject({ status: 'completed' });
      const [request] = api.requests.slice(asked).filter(({ method }) => method === 'POST');
      bodies.push(JSON.stringify(request?.body).replaceAll(/[0-9a-f]{8}-[0-9a-f-]{27}|"device_id\W+\w+/g, 'ID'));
    }
    expect(withoutIds(bodies[0])).toBe(withoutIds(bodies[1]));
  });

  test('gives JSON that fits a schema', async () => {
    await startEarly();
    const outputSchema = { type: 'object', properties: { a: { type: 'integer' } }, required: ['a'] };
    const { report, status } = await run('tool: StructuredOutput {"a": 1}', { outputSchema });
    expect([status, report.result]).toEqual(['completed', '{"a":1}']);
  });

  test.each<[string, Partial<JobSpec>]>([
    ['model', { model: 'haiku' }],
    ['effort', { effort: 'low' }],
    ['budget', { maxBudgetUsd: 1 }],
    ['agent', { agent: 'reviewer' }],
    ['time limit', { timeoutMs: 50_000 }],
    ['patience', { idleTimeoutMs: 50_000 }],
    [
      'history',
      {
        history: [
          { role: 'user', text: 'a' },
          { role: 'assistant', text: 'b' },
        ],
      },
    ],
    ['kind', { kind: 'execute' }],
  ])('is not used by a job of another %s', async (_, changed) => {
    expect(fixture.runner.canUse(chat, { ...chat, ...changed })).toBe(false);
    expect(fixture.runner.canUse({ ...chat, ...changed }, chat)).toBe(false);
  });

  test('is replaced by a new one where the job asks for another model', async () => {
    const early = await startEarly();
    await printed('session_title');
    const asked = api.requests.length;
    expect(await run('say: hi', { model: 'haiku' })).toMatchObject({ status: 'completed', report: { text: 'hi' } });
    await early.ended;
    expect(JSON.stringify(api.requests.slice(asked).map(({ body }) => body))).toContain('"model":"claude-haiku');
  });

  test.each(['long before', 'at the moment when'])('does no harm when it was killed %s its job came', async (when) => {
    const early = await startEarly();
    await printed('session_title');
    const pids = await processesOf(id);
    for (const pid of pids) process.kill(pid, 'SIGKILL');
    if (when === 'long before') await early.ended;
    const outcome = run('say: started once more', { systemPrompt: 'for both' });
    const events = await collect(fixture.runner.follow(id, never));
    expect(await outcome).toMatchObject({ status: 'completed', report: { text: 'started once more' } });
    expect(textOf(events)).toBe('started once more');
  });

  test('is ended when the job is', async () => {
    await startEarly();
    const controller = new AbortController();
    const outcome = run('stall\nsay: never heard of', {}, controller.signal);
    await printed('message_start');
    controller.abort('client_gone');
    expect(await outcome).toMatchObject({ status: 'cancelled', reason: 'client_gone' });
    expect(await processesOf(id)).toEqual([]);
  });

  test('leaves no process and no file when it is not needed', async () => {
    const early = await startEarly();
    await printed('session_title');
    expect(await early.rssBytes()).toBeGreaterThan(50 * 1024 * 1024);
    await early.discard();
    expect(await processesOf(id)).toEqual([]);
    expect(await readdir(fixture.runsDir)).not.toContain(id);
    expect(await early.rssBytes()).toBe(0);
  });
});

describe('an agent that waits', { timeout: 60_000 }, () => {
  test('is current until another program stands in the place of its CLI', async () => {
    const bin = join(fixture.workspacePath, '..', 'cli.sh');
    await writeFile(bin, '#!/bin/sh\ncat >/dev/null\n', { mode: 0o700 });
    await using own = await createRunnerFixture({
      bin: { claude: bin },
      containment: createSupervisorContainment({ file: supervisorFile }),
    });
    const early = await own.runner.startEarly({ id, spec: chat, workspacePath: own.workspacePath });
    expect(await early?.isCurrent()).toBe(true);
    await copyFile(bin, `${bin}.new`);
    await rename(`${bin}.new`, bin);
    expect(await early?.isCurrent()).toBe(false);
    await early?.discard();
  });

  test('is not to be had where it could outlive the service', async () => {
    await using own = await createRunnerFixture();
    expect(await own.runner.startEarly({ id, spec: chat, workspacePath: own.workspacePath })).toBeNull();
  });
});

/** Every run has a session and a directory of its own. */
function withoutIds(body = ''): string {
  return body.replaceAll(/job_[A-Za-z0-9_-]{27}/g, 'JOB');
}
