import { existsSync, readFileSync } from 'node:fs';
import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { JobSpec } from '../../src/jobs/job.ts';
import { createJobId } from '../../src/jobs/job-id.ts';
import { waitFor } from '../helpers/wait.ts';
import { collect, createRunnerFixture, type RunnerFixture, textOf } from './runner-fixture.ts';

const never = new AbortController().signal;
let fixture: RunnerFixture;

beforeEach(async () => {
  fixture = await createRunnerFixture();
});

afterEach(async () => {
  await fixture[Symbol.asyncDispose]();
});

/** What the agent was given, as it saw it. */
async function dump(prompt: string, spec: Partial<JobSpec> = {}) {
  const { report } = await fixture.run(prompt, spec);
  const seen: unknown = JSON.parse(report.result ?? 'null');
  return seen;
}

function isRunning(pid: number): boolean {
  try {
    return !/\) Z /.test(readFileSync(`/proc/${pid}/stat`, 'utf8'));
  } catch {
    return false;
  }
}

/** The pid in a file, once it is there. */
async function pidIn(file: string): Promise<number> {
  return await waitFor(
    () => (existsSync(file) ? Number(readFileSync(file, 'utf8')) : 0),
    (pid) => pid > 0,
  );
}

describe('what an agent is given', () => {
  test.each([
    ['dump\n-x', 'dump\n-x'],
    ['--version\ndump', '--version\ndump'],
    ['/compact\ndump\n', '\n/compact\ndump\n'],
    [`dump\n${'é'.repeat(500_000)}`, `dump\n${'é'.repeat(500_000)}`],
  ])('the prompt byte for byte', async (prompt, arrives) => {
    expect(await dump(prompt)).toMatchObject({ prompt: arrives });
  });

  test('the system prompt in a file, so that it is in nobody else’s list of processes', async () => {
    const seen = await dump('dump', { systemPrompt: 'be -brief' });
    expect(seen).toMatchObject({ systemPrompt: 'be -brief', argv: expect.not.arrayContaining(['be -brief']) });
  });

  test('the workspace to work in, directories of its own, and not the service’s token', async () => {
    const seen = await dump('dump');
    expect(seen).toMatchObject({
      cwd: fixture.workspacePath,
      env: {
        ANTHROPIC_API_KEY: 'dummy',
        CLAUDE_CONFIG_DIR: expect.stringMatching(/^\/.*\/runs\/job_[^/]+\/config$/),
        TMPDIR: expect.stringMatching(/^\/.*\/runs\/job_[^/]+\/tmp$/),
        CLAUDE_CODE_DISABLE_ATTACHMENTS: '1',
        CLAUDE_CODE_MAX_RETRIES: '3',
        AGENT_JOB_ID: expect.stringMatching(/^job_/),
      },
    });
    expect(JSON.stringify(seen)).not.toContain('API_BEARER_TOKEN');
  });
});

describe('an outcome', () => {
  test('of a success holds all that the agent reported', async () => {
    const { report, ...verdict } = await fixture.run('say: hello\nusage: 7 3\nstderr: note');
    expect(verdict).toEqual({ status: 'completed', reason: 'ok', error: null });
    expect(report).toMatchObject({ exitCode: 0, stderr: 'note\n', result: 'hello', text: null, numTurns: 1 });
    expect(report).toMatchObject({ usage: { input_tokens: 7 }, resolvedModel: 'claude-sonnet-5-5', apiStatus: null });
    expect(report.costUsd).toBeGreaterThan(0);
    expect(report.sessionId).toMatch(/^[0-9a-f-]{36}$/);
    expect(report.output).toHaveLength(1);
    expect(JSON.parse(report.output.join('\n'))).toMatchObject({ type: 'result', result: 'hello' });
  });

  test.each([
    ['say: a\nexit-after: 3', 'completed', 'ok', 3],
    ['exit: 3', 'failed', 'exit_nonzero', 3],
    ['silent', 'failed', 'no_result', 0],
    ['garbage\nexit: 0', 'failed', 'no_result', 0],
    ['half-json', 'failed', 'no_result', 0],
    ['crash', 'failed', 'signal', null],
    ['budget', 'failed', 'budget', 1],
    ['max-turns', 'failed', 'max_turns', 1],
    ['api-error: 401', 'failed', 'agent_error', 1],
    ['not-utf8\nsay: a', 'completed', 'ok', 0],
    ['say: a\nstderr-flood: 3000000', 'completed', 'ok', 0],
    ['one-line: 50000000\nsay: a', 'completed', 'ok', 0],
    ['garbage\nsay: a', 'completed', 'ok', 0],
  ])('of %j is %s, %s', async (prompt, status, reason, exitCode) => {
    const outcome = await fixture.run(prompt);
    expect(outcome).toMatchObject({ status, reason, report: { exitCode } });
    expect(outcome.error === null).toBe(status === 'completed');
  });

  test('of an API error names its status and keeps its words', async () => {
    const outcome = await fixture.run('api-error: 429');
    expect(outcome).toMatchObject({ error: expect.stringMatching(/429/), report: { apiStatus: 429 } });
  });

  test('without a result holds the last lines of the output, bounded, and of the errors', async () => {
    const { report } = await fixture.run('flood: 1000000\ngarbage\nstderr-flood: 1000000\nexit: 4');
    expect(report.output.slice(-4)).toEqual(['this is not JSON', '{"type":"result"', '[1,2', '']);
    expect(report.output.join('\n').length).toBeLessThanOrEqual(65_536);
    expect(report.stderr.length).toBeLessThanOrEqual(65_536);
  });

  test('of a long result is complete', async () => {
    const { report } = await fixture.run('big-result: 3000000');
    expect(report.result).toHaveLength(3_000_000);
  });

  test('of a result that is too long is not a success', async () => {
    const outcome = await fixture.run('big-result: 17000000');
    expect(outcome).toMatchObject({ status: 'failed', reason: 'output_limit', report: { result: null } });
  });

  test('of a chat holds all text, turns separated by a blank line', async () => {
    const outcome = await fixture.run('say: one\nbash: true\nsay: two', { kind: 'chat' });
    expect(outcome.report).toMatchObject({ text: 'one\n\ntwo', result: 'two' });
  });
});

describe('an agent that is ended', () => {
  test.each([
    ['cancelled', 'cancelled', 'cancelled'],
    ['client_gone', 'cancelled', 'client_gone'],
    ['shutdown', 'lost', 'shutdown'],
  ] as const)('because of %s is %s, still reports its cost, and is gone', async (why, status, reason) => {
    const file = join(fixture.workspacePath, 'pid');
    const run = fixture.start(`say: begun\npid-file: ${file}\nforever`);
    const pid = await pidIn(file);
    for await (const event of fixture.runner.follow(run.id, never)) if (event.type === 'text') break;
    run.end(why);
    const outcome = await run.outcome;
    expect(outcome).toMatchObject({ status, reason, error: expect.any(String), report: { result: null } });
    expect(outcome.report.costUsd).toBeGreaterThan(0);
    expect(isRunning(pid)).toBe(false);
  });

  test('at its timeout is gone, even if it ignores every signal that it can', async () => {
    await using impatient = await createRunnerFixture({ graceMs: 200 });
    const file = join(fixture.workspacePath, 'pid');
    const prompt = `ignore-term\nignore-int\npid-file: ${file}\nforever`;
    expect(await impatient.run(prompt, { timeoutMs: 2_000 })).toMatchObject({
      status: 'timeout',
      reason: 'timeout',
      error: 'The agent did not finish within 2 seconds',
      report: { exitCode: null },
    });
    expect(isRunning(await pidIn(file))).toBe(false);
  });

  test('before it began is not started', async () => {
    const run = fixture.start('say: never');
    run.end('cancelled');
    expect(await run.outcome).toMatchObject({ status: 'cancelled', report: { output: [], exitCode: null } });
  });

  test('for printing too much says so', async () => {
    await using bounded = await createRunnerFixture({ maxOutputBytes: 100_000 });
    expect(await bounded.run('flood: 1000000\nforever')).toMatchObject({ status: 'failed', reason: 'output_limit' });
  });

  test('because it stays after its result keeps its success', async () => {
    const script = join(fixture.workspacePath, 'lingers');
    const result = '{"type":"result","subtype":"success","is_error":false,"result":"done"}';
    await writeFile(script, `#!/bin/sh\necho '${result}'\nsleep 300\n`, { mode: 0o755 });
    await using lingering = await createRunnerFixture({ lingerMs: 200, bin: { claude: script } });
    expect(await lingering.run('x')).toMatchObject({ status: 'completed', reason: 'ok', report: { result: 'done' } });
  });

  test('is not ended for being silent before its result', async () => {
    await using brisk = await createRunnerFixture({ lingerMs: 100 });
    expect(await brisk.run('say: a\nsleep-ms: 1000\nsay: b')).toMatchObject({
      status: 'completed',
      report: { result: 'b' },
    });
  });
});

describe('an agent that cannot be started', () => {
  test.each([
    ['is not on the path', 'no-such-agent'],
    ['is not at its path', '/nonexistent/claude'],
    ['may not be run', '/etc/passwd'],
  ])('because it %s is an error that names the fix and no path', async (_, bin) => {
    await using broken = await createRunnerFixture({ bin: { claude: bin } });
    const outcome = await broken.run('say: never');
    expect(outcome).toMatchObject({
      status: 'error',
      reason: 'spawn_error',
      error: expect.stringMatching(/CLAUDE_BIN/),
    });
    expect(outcome.error).not.toContain(bin);
    expect(await broken.runner.check()).toContain('CLAUDE_BIN');
  });

  test('because its workspace is gone is an error', async () => {
    await rm(fixture.workspacePath, { recursive: true });
    expect(await fixture.run('say: never')).toMatchObject({ status: 'error', reason: 'spawn_error' });
  });

  test('because nobody knows it is an error', async () => {
    expect(await fixture.run('x', { provider: 'constructor' })).toMatchObject({
      status: 'error',
      reason: 'spawn_error',
    });
  });
});

describe('following a run', () => {
  test('gives the text as it comes, and in the end exactly the text of the report', async () => {
    const run = fixture.start('delta-ms: 20\nsay: one two three four five\nbash: true\nsay: six', { kind: 'chat' });
    const [first, second] = await Promise.all([
      collect(fixture.runner.follow(run.id, never)),
      collect(fixture.runner.follow(run.id, never)),
    ]);
    const { report } = await run.outcome;
    expect(first[0]).toEqual({ type: 'start', model: 'claude-sonnet-5-5', sessionId: report.sessionId });
    expect(first.length).toBeGreaterThan(3);
    expect(textOf(first)).toBe('one two three four five\n\nsix');
    expect(second).toEqual(first);
    expect(report.text).toBe(textOf(first));
  });

  test('is served as fast as it is read, and begins with the call', async () => {
    const run = fixture.start('say: hello');
    const events = fixture.runner.follow(run.id, never);
    await run.outcome;
    expect(textOf(await collect(events))).toBe('hello');
  });

  test('ends with the run, also when nothing was printed', async () => {
    const run = fixture.start('silent');
    expect(await collect(fixture.runner.follow(run.id, never))).toEqual([]);
    await run.outcome;
  });

  test('ends at once for a run that is over or unknown', async () => {
    const run = fixture.start('say: hello');
    await run.outcome;
    expect(await collect(fixture.runner.follow(run.id, never))).toEqual([]);
    expect(await collect(fixture.runner.follow(createJobId(), never))).toEqual([]);
  });
});

describe('a run with a schema', () => {
  const outputSchema = { type: 'object', properties: { a: { type: 'integer' } } };

  test('answers with the JSON alone, streamed and whole', async () => {
    const run = fixture.start('say: Let me see.\nstructured: {"a":1}', { kind: 'chat', outputSchema });
    const events = await collect(fixture.runner.follow(run.id, new AbortController().signal));
    expect(await run.outcome).toMatchObject({ status: 'completed', report: { text: '{"a":1}', result: '{"a":1}' } });
    expect(textOf(events)).toBe('{"a":1}');
  });

  test('that ends in text has failed', async () => {
    const outcome = await fixture.run('say: no', { kind: 'chat', outputSchema });
    expect(outcome).toMatchObject({ status: 'failed', reason: 'no_result', report: { text: '', result: 'no' } });
  });
});
