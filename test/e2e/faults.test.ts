import { readFile, rm, writeFile } from 'node:fs/promises';
import { request } from 'node:http';
import { join } from 'node:path';
import { execa } from 'execa';
import { describe, expect, test } from 'vitest';
import { startMessagesApi } from '../fixtures/messages-api.ts';
import { realClaude } from '../fixtures/run-agent.ts';
import { createGitRepo, openGitRepo } from '../helpers/git-repo.ts';
import {
  isAlive,
  type ServiceProcess,
  startServiceProcess,
  temporaryDirectory,
  token,
} from '../helpers/service-process.ts';
import { waitFor } from '../helpers/wait.ts';
import { chat, createGate, dumpIn, track, untilActive, untilTrashIsEmpty, workspacesOf } from './steering.ts';

/** What an earlier service of this kind got wrong, each seen in a run: none of it may come back. */

/** What goes wrong here hangs for longer than this. */
const promptlyMs = 15_000;

describe('an agent that does not behave', () => {
  test('is gone, and stays within the places there are, when its job is a timeout', async () => {
    const agents = await Promise.all(Array.from({ length: 4 }, track));
    const service = await startServiceProcess({ env: { MAX_CONCURRENCY: '2', KILL_GRACE_SECONDS: '1' } });
    const ids = await Promise.all(
      agents.map(({ line }) =>
        service.submit({ prompt: `${line}\nignore-int\nignore-term\nforever`, timeout_seconds: 1 }),
      ),
    );
    const endings = ids.map(async (id, index) => {
      const job = await service.finished(id);
      return { status: job['status'], reason: job['reason'], alive: await isAlive((await agents[index]?.pid()) ?? 1) };
    });
    const mostAlive = await mostAliveUntil(Promise.all(endings), agents);
    expect(await Promise.all(endings)).toEqual(ids.map(() => ({ status: 'timeout', reason: 'timeout', alive: false })));
    expect(mostAlive).toBeLessThanOrEqual(2);
    expect(await service.read('/health')).toMatchObject({ active: 0, queued: 0 });
  });

  test('may print lines of megabytes, and the answer after them arrives whole', async () => {
    const service = await startServiceProcess();
    const job = await service.finished(await service.submit({ prompt: 'one-line: 5000000\nbig-result: 1000000' }));
    expect(job).toMatchObject({ status: 'completed', reason: 'ok' });
    expect(String(job['result'])).toHaveLength(1_000_000);
    expect(resultIn(job)).toHaveLength(1_000_000);
  });

  test('may fill standard error with megabytes before its answer', async () => {
    const service = await startServiceProcess();
    const prompt = 'stderr-flood: 4000000\nsay: after the flood';
    const job = await service.finished(await service.submit({ prompt, timeout_seconds: 30 }));
    expect(job).toMatchObject({ status: 'completed', result: 'after the flood' });
    expect(String(job['stderr']).length).toBeLessThan(100_000);
  });

  test('completes its job although a byte of its output is not UTF-8', async () => {
    const service = await startServiceProcess();
    const job = await service.finished(await service.submit({ prompt: 'not-utf8\nsay: still here' }));
    expect(job).toMatchObject({ status: 'completed', result: 'still here' });
  });

  test('does not hold its job with a process that keeps its output open', async () => {
    const service = await startServiceProcess();
    const started = performance.now();
    const job = await service.finished(await service.submit({ prompt: 'hold-stdout-ms: 25000\nsay: done' }));
    expect(job).toMatchObject({ status: 'completed', result: 'done' });
    expect(performance.now() - started).toBeLessThan(promptlyMs);
    expect(await service.read('/health')).toMatchObject({ active: 0 });
  });
});

describe('what reaches an agent', () => {
  test('is none of the secrets in the environment of the service', async () => {
    const secrets = { AWS_SECRET_ACCESS_KEY: 'aws-secret-value', DATABASE_URL: 'postgres://secret-value@host/db' };
    const service = await startServiceProcess({ env: { ...secrets, LANG: 'C.UTF-8' } });
    const job = await service.finished(await service.submit({ prompt: 'dump' }));
    const seen = String(job['result']);
    for (const secret of [token, 'API_BEARER_TOKEN', 'DATA_DIR', ...Object.entries(secrets).flat()]) {
      expect(seen).not.toContain(secret);
    }
    expect(JSON.parse(seen)).toMatchObject({ env: { LANG: 'C.UTF-8', ANTHROPIC_API_KEY: 'dummy' } });
  });

  test('is a prompt of any length up to the limit, byte for byte', async () => {
    const service = await startServiceProcess();
    const prompt = `dump\n${'ä€😀 '.repeat(40_000)}`;
    expect(Buffer.byteLength(prompt)).toBeGreaterThan(131_072);
    const job = await service.finished(await service.submit({ prompt }));
    const { prompt: seen } = dumpIn(job);
    expect(seen === prompt).toBe(true);
  });

  test('is no prompt with NUL: it is refused and makes no job', async () => {
    const service = await startServiceProcess();
    const response = await service.post('/execute', { prompt: 'before\0after' });
    expect(response.status).toBe(400);
    expect(await response.json()).toMatchObject({ code: 'invalid_request', errors: [{ path: 'prompt' }] });
    expect(await service.read('/jobs')).toMatchObject({ jobs: [] });
  });

  test('is a prompt that begins with a dash as a prompt, also to the real CLI', async () => {
    const api = await startMessagesApi();
    const env = { CLAUDE_BIN: realClaude, ANTHROPIC_BASE_URL: api.url, MAX_CONCURRENCY: '2' };
    const service = await startServiceProcess({ env });
    try {
      const prompts = ['--version', '-v', '--help', '-x'];
      const ids = await Promise.all(prompts.map((prompt) => service.submit({ prompt })));
      const jobs = await Promise.all(ids.map(service.finished));
      expect(jobs.map(({ status, result }) => ({ status, result }))).toEqual(
        prompts.map((prompt) => ({ status: 'completed', result: `echo: ${prompt}` })),
      );
    } finally {
      await api.close();
    }
  });
});

describe('a caller', () => {
  test.each([false, true])(
    'who hangs up on a chat (stream: %s) takes its agent along and frees the place',
    async (stream) => {
      const agent = await track();
      const service = await startServiceProcess({ env: { MAX_CONCURRENCY: '1' } });
      const caller = new AbortController();
      const call = service.post('/v1/chat/completions', chat(`${agent.line}\nforever`, { stream }), caller.signal);
      const answer = call.then(async (response) => await response.text()).catch(() => 'gone');
      await agent.pid();
      caller.abort();
      expect(await answer).toBe('gone');
      await agent.gone();
      await untilActive(service, 0);
      expect(await service.read('/jobs')).toMatchObject({ jobs: [{ status: 'cancelled', reason: 'client_gone' }] });
    },
  );

  test.each(['/execute', '/v1/chat/completions'])(
    'with a token that is not ASCII is refused by %s as any other without a token',
    async (path) => {
      const service = await startServiceProcess();
      const headers = { authorization: 'Bearer caf\u00e9\u00ff', 'content-type': 'application/json' };
      const response = await fetch(`${service.url}${path}`, { method: 'POST', headers, body: '{}' });
      expect(response.status).toBe(401);
    },
  );

  test('is told that a body is too large before it has sent it', async () => {
    const service = await startServiceProcess();
    expect(await statusOfAnnouncedBody(service, 100_000_000)).toBe(413);
    const tooLong = await service.post('/execute', { prompt: 'x'.repeat(5_000_000) });
    expect(tooLong.status).toBe(400);
    expect(await tooLong.json()).toMatchObject({ errors: [{ path: 'prompt' }] });
    expect(await service.read('/jobs')).toMatchObject({ jobs: [] });
  });

  test('cannot ask for a time limit or a budget that is none', async () => {
    const service = await startServiceProcess();
    for (const [field, value] of [
      ...[0, -5, 1.5, 86_401, '60'].map((seconds) => ['timeout_seconds', seconds] as const),
      ...[0, -1, 1000.01, '5'].map((usd) => ['max_budget_usd', usd] as const),
    ]) {
      const response = await service.post('/execute', { prompt: 'say: x', [field]: value });
      expect(response.status, `${field}: ${value}`).toBe(400);
      expect(await response.json()).toMatchObject({ errors: [{ path: field }] });
    }
    expect(await service.read('/jobs')).toMatchObject({ jobs: [] });
  });

  test.each(['0', '1'])('has the answer of a chat before the workspace is gone, POOL_SIZE=%s', async (POOL_SIZE) => {
    const service = await startServiceProcess({ env: { POOL_SIZE } });
    const prompt = 'bash: mkdir many && cd many && seq 1 20000 | xargs touch\nsay: answered';
    const response = await service.post('/v1/chat/completions', chat(prompt));
    const inJobs = { cwd: join(service.dataDir, 'jobs'), reject: false };
    const { stdout } = await execa('sh', ['-c', 'ls -d .pool/*/many .trash/*/*/many'], inJobs);
    expect(await response.json()).toMatchObject({ choices: [{ message: { content: 'answered' } }] });
    expect(stdout).toContain('/many');
    expect(await workspacesOf(service)).toEqual([]);
    await untilTrashIsEmpty(service);
  });
});

describe('the end of the service', () => {
  test('at SIGTERM comes after that of its agents, and their ends are kept', async () => {
    const [agent, gate] = [await track(), await createGate()];
    const service = await startServiceProcess();
    const id = await service.submit({ prompt: `${agent.line}\n${gate.line}\nsay: finished` });
    const pid = await agent.pid();
    service.signal('SIGTERM');
    await waitFor(
      async () => await service.read('/health'),
      ({ draining }) => draining === true,
    );
    expect(await isAlive(pid)).toBe(true);
    await gate.open();
    expect(await service.exited()).toBe(0);
    expect(await isAlive(pid)).toBe(false);
    const restarted = await startServiceProcess({ dataDir: service.dataDir });
    expect(await restarted.read(`/jobs/${id}`)).toMatchObject({ status: 'completed', result: 'finished' });
  });

  test('by SIGKILL loses no accepted job, and the next start leaves neither workspace nor agent behind', async () => {
    const agent = await track();
    const service = await startServiceProcess({ env: { MAX_CONCURRENCY: '1' } });
    const running = await service.submit({ prompt: `${agent.line}\nforever` });
    const queued = await service.submit({ prompt: 'say: at last' });
    await agent.pid();
    service.signal('SIGKILL');
    expect(await service.exited()).toBe(-1);
    expect(await workspacesOf(service)).toEqual([running]);
    const restarted = await startServiceProcess({ dataDir: service.dataDir });
    expect(await restarted.read(`/jobs/${running}`)).toMatchObject({ status: 'lost', reason: 'lost' });
    expect(await restarted.finished(queued)).toMatchObject({ status: 'completed', result: 'at last' });
    await agent.gone();
    expect(await workspacesOf(service)).toEqual([]);
  });
});

describe('the base repository', () => {
  test('that cannot be cloned ends jobs in error and leaves no half of a workspace', async () => {
    const base = await createGitRepo(join(await temporaryDirectory(), 'base'), { 'a.txt': 'a', 'b.txt': 'b' });
    const service = await startServiceProcess({ env: { WORKSPACE_DIR: base.path } });
    const blob = await base.git('rev-parse', 'HEAD:b.txt');
    await rm(join(base.path, '.git', 'objects', blob.slice(0, 2), blob.slice(2)));
    const ids = await Promise.all([1, 2, 3].map(() => service.submit({ prompt: 'say: x' })));
    for (const job of await Promise.all(ids.map(service.finished))) {
      expect(job).toMatchObject({ status: 'error', reason: 'workspace_error', exit_code: null });
      expect(job['error']).not.toContain(base.path);
    }
    expect(await workspacesOf(service)).toEqual([]);
    await untilTrashIsEmpty(service);
  });

  test('whose remote hangs holds up no job, and the fetch ends with the service', async () => {
    const directory = await temporaryDirectory();
    const base = await createGitRepo(join(directory, 'base'), { 'a.txt': 'a' });
    await openGitRepo(base.path).git('remote', 'add', 'origin', 'git@127.0.0.1:repository.git');
    const fetching = await track();
    const ssh = join(directory, 'ssh');
    await writeFile(ssh, `#!/bin/sh\necho $$ > ${fetching.file}\nexec sleep 60\n`, { mode: 0o755 });
    const env = { WORKSPACE_DIR: base.path, GIT_SSH_COMMAND: ssh, FETCH_DEBOUNCE_SECONDS: '0', BASE_BRANCH: 'main' };
    const service = await startServiceProcess({ env });
    const started = performance.now();
    const ids = await Promise.all([1, 2, 3, 4, 5].map((n) => service.submit({ prompt: `say: ${n}` })));
    const jobs = await Promise.all(ids.map(service.finished));
    expect(jobs.map(({ result }) => result)).toEqual(['1', '2', '3', '4', '5']);
    expect(performance.now() - started).toBeLessThan(promptlyMs);
    expect(await isAlive(await fetching.pid())).toBe(true);
    service.signal('SIGTERM');
    expect(await service.exited()).toBe(0);
    await fetching.gone();
  });
});

/** The most of these processes that were seen alive at once until `done`. */
async function mostAliveUntil(done: Promise<unknown>, agents: readonly { readonly file: string }[]): Promise<number> {
  let [most, over] = [0, false];
  const end = done.finally(() => {
    over = true;
  });
  await waitFor(
    async () => {
      const pids = await Promise.all(
        agents.map(async ({ file }) => Number(await readFile(file, 'utf8').catch(() => ''))),
      );
      const alive = await Promise.all(pids.filter((pid) => pid > 1).map(isAlive));
      most = Math.max(most, alive.filter(Boolean).length);
      return over;
    },
    (isOver) => isOver,
    { timeoutMs: 60_000, what: 'all jobs to end' },
  );
  await end;
  return most;
}

/** Sends the head of a request alone. */
async function statusOfAnnouncedBody({ url }: ServiceProcess, bytes: number): Promise<number | undefined> {
  const { promise, resolve, reject } = Promise.withResolvers<number | undefined>();
  const headers = {
    authorization: `Bearer ${token}`,
    'content-type': 'application/json',
    'content-length': String(bytes),
  };
  const sent = request(`${url}/execute`, { method: 'POST', headers }, (response) => resolve(response.statusCode));
  sent.on('error', reject);
  sent.flushHeaders();
  const status = await promise;
  sent.destroy();
  return status;
}

/** The `result` of the CLI's final object, as callers parse it. */
function resultIn(job: Readonly<Record<string, unknown>>): unknown {
  const lines: unknown = job['output'];
  const last: unknown = JSON.parse(Array.isArray(lines) ? lines.join('\n') : '');
  return typeof last === 'object' && last !== null && 'result' in last ? last.result : undefined;
}
