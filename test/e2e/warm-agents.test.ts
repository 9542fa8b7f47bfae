import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { livingProcesses } from '../../src/process/process-table.ts';
import { type MessagesApi, startMessagesApi } from '../fixtures/messages-api.ts';
import { realClaude } from '../fixtures/run-agent.ts';
import { createGitRepo, type GitRepo } from '../helpers/git-repo.ts';
import {
  asRecord,
  isAlive,
  type ServiceProcess,
  startServiceProcess,
  temporaryDirectory,
} from '../helpers/service-process.ts';
import { waitFor } from '../helpers/wait.ts';

/** Agents that wait for jobs: the installed claude CLI, run by the service, with a stand-in for the API that it calls. */

/** One start at a time, and each takes a second of a core that others want, too. */
const slow = { timeoutMs: 60_000 };

let api: MessagesApi;
beforeAll(async () => {
  api = await startMessagesApi();
});
afterAll(() => api.close());

async function start(env: Readonly<Record<string, string>> = {}, dataDir?: string): Promise<ServiceProcess> {
  const real = { CLAUDE_BIN: realClaude, ANTHROPIC_BASE_URL: api.url, LOG_LEVEL: 'debug', WARM_AGENTS: '1' };
  return await startServiceProcess({ env: { ...real, ...env }, ...(dataDir !== undefined && { dataDir }) });
}

async function waiting(service: ServiceProcess, count: number): Promise<void> {
  await waitFor(
    async () => /^agent_warm_agents (\d+)$/m.exec(await (await service.fetch('/metrics')).text())?.[1],
    (found) => found === String(count),
    { ...slow, what: `${count} agents to wait` },
  );
}

/** The CLIs of a service that wait or work, by the directory in which their own files are. */
async function agentsOf({ dataDir }: ServiceProcess): Promise<readonly { pid: number; id: string }[]> {
  const all = (await livingProcesses()) ?? [];
  const found = await Promise.all(
    all.map(async ({ pid }) => {
      const environment = await readFile(`/proc/${pid}/environ`, 'utf8').catch(() => '');
      const name = await readFile(`/proc/${pid}/comm`, 'utf8').catch(() => 'supervise');
      const id = /AGENT_JOB_ID=(job_[A-Za-z0-9_-]{27})/.exec(environment)?.[1];
      const isOurs = environment.includes(dataDir) && !name.startsWith('supervise');
      return id !== undefined && isOurs ? [{ pid, id }] : [];
    }),
  );
  return found.flat();
}

/** Those that wait. Told to be ready, one may not yet be more than its supervisor. */
async function waitingAgents(service: ServiceProcess, count: number): ReturnType<typeof agentsOf> {
  await waiting(service, count);
  return await waitFor(
    () => agentsOf(service),
    (found) => new Set(found.map(({ id }) => id)).size === count,
    slow,
  );
}

/** The one that waits, once it has come to its prompt. */
async function waitingAgent(service: ServiceProcess): Promise<{ pid: number; id: string }> {
  const [agent] = await waitingAgents(service, 1);
  if (agent === undefined) throw new Error('no agent waits');
  const log = join(service.dataDir, 'runs', agent.id, 'stdout.log');
  await waitFor(
    () => readFile(log, 'utf8').catch(() => ''),
    (text) => text.includes('session_title'),
    slow,
  );
  return agent;
}

interface Answer {
  readonly id: string;
  readonly text: string;
}

async function ask(service: ServiceProcess, prompt: string, more: object = {}, signal?: AbortSignal): Promise<Answer> {
  const body = { messages: [{ role: 'user', content: prompt }], ...more };
  const response = await service.post('/v1/chat/completions', body, signal);
  const answer = asRecord(await response.json());
  const [choice]: unknown[] = Array.isArray(answer['choices']) ? answer['choices'] : [];
  const { content } = asRecord(asRecord(choice)['message']);
  return { id: response.headers.get('x-job-id') ?? '', text: String(content) };
}

function createBase(): Promise<GitRepo> {
  return temporaryDirectory().then((dir) => createGitRepo(join(dir, 'base'), { 'README.md': 'apricot\n' }));
}

describe('with WARM_AGENTS', { timeout: 120_000 }, () => {
  test('a chat is answered by the agent that waits, and another takes its place', async () => {
    const service = await start();
    const { id, pid } = await waitingAgent(service);
    expect(await service.read('/health')).toMatchObject({ active: 0, queued: 0 });
    expect(await service.read('/jobs')).toMatchObject({ jobs: [] });
    const messages = [
      { role: 'system', content: 'Be brief, said the caller.' },
      { role: 'user', content: 'say: warm words' },
    ];
    expect(await ask(service, '', { messages })).toEqual({ id, text: 'warm words' });
    expect(JSON.stringify(api.requests.at(-1)?.body).includes('Be brief, said the caller.')).toBe(true);
    expect(await isAlive(pid)).toBe(false);
    const job = await service.finished(id);
    expect(job).toMatchObject({ status: 'completed', reason: 'ok', exit_code: 0, result: 'warm words' });
    expect(await (await service.fetch(`/jobs/${id}/log`)).text()).toContain('warm words');
    const next = await waitingAgent(service);
    expect(next.id).not.toBe(id);
    expect(await ask(service, 'say: again')).toEqual({ id: next.id, text: 'again' });
  });

  test('what it changes is told against the commit of its clone', async () => {
    const base = await createBase();
    const service = await start({ WORKSPACE_DIR: base.path });
    const { id } = await waitingAgent(service);
    const write = `tool: Write ${JSON.stringify({ file_path: 'made.txt', content: 'made\n' })}\nsay: done`;
    expect(await ask(service, write)).toEqual({ id, text: 'done' });
    const [commit] = (await base.git('rev-parse', 'HEAD')).split('\n');
    expect(await service.read(`/jobs/${id}/changes`)).toMatchObject({
      base_commit: commit,
      files_changed: 1,
      files: [{ path: 'made.txt', change: 'added' }],
    });
  });

  test('it is shut in as every other agent is', async () => {
    const service = await start({ ISOLATION: 'namespace' });
    await waiting(service, 1);
    const command = `ls ${service.dataDir}/jobs.db; ls /proc | grep -c '^[0-9]'; echo x > here && echo written`;
    const before = api.requests.length;
    const { id, text } = await ask(service, `tool: Bash ${JSON.stringify({ command })}\nsay: looked`);
    expect(text).toBe('looked');
    const seen = JSON.stringify(api.requests.slice(before).map(({ body }) => body));
    expect([seen.includes('written'), seen.includes('cannot access')]).toEqual([true, true]);
    const job = await service.finished(id);
    expect(job).toMatchObject({ status: 'completed', containment: { level: 'namespace', survivors: 0 } });
    expect(service.output()).toMatch(new RegExp(`"job_id":"${id}","pid":\\d+,"msg":"agent started ahead of its job"`));
  });

  test('a chat with another effort, and a job of /execute, start agents of their own', async () => {
    const service = await start();
    const { id, pid } = await waitingAgent(service);
    const other = await ask(service, 'say: with effort', { reasoning_effort: 'high' });
    expect(other.text).toBe('with effort');
    const job = await service.finished(await service.submit({ prompt: 'say: executed', model: 'sonnet' }));
    expect(job).toMatchObject({ status: 'completed', result: 'executed' });
    expect([other.id, job['job_id']]).not.toContain(id);
    expect(await isAlive(pid)).toBe(true);
  });

  test('two chats at once never share one', async () => {
    const service = await start();
    const { id } = await waitingAgent(service);
    const answers = await Promise.all(['one', 'two', 'three'].map((word) => ask(service, `say: ${word}`)));
    expect(answers.map(({ text }) => text)).toEqual(['one', 'two', 'three']);
    expect(new Set(answers.map((answer) => answer.id)).size).toBe(3);
    expect(answers.filter((answer) => answer.id === id)).toHaveLength(1);
  });

  test('a base that moved is what the next chat sees, and agents that waited are replaced', async () => {
    const base = await createBase();
    const service = await start({ WORKSPACE_DIR: base.path });
    const { id, pid } = await waitingAgent(service);
    await base.commit({ 'README.md': 'blackberry\n' });
    const look = 'tool: Bash {"command": "cat README.md"}\nsay: seen';
    const before = api.requests.length;
    // Whether it was replaced already is a matter of chance: the chat may have the id of either.
    expect((await ask(service, look)).text).toBe('seen');
    const asked = JSON.stringify(api.requests.slice(before).map(({ body }) => body));
    expect([asked.includes('apricot'), asked.includes('blackberry')]).toEqual([false, true]);
    await waitFor(
      () => isAlive(pid),
      (alive) => !alive,
      slow,
    );
    await base.commit({ 'README.md': 'cranberry\n' });
    const middle = await waitFor(
      async () => (await waitingAgent(service)).id,
      (found) => found !== id,
      slow,
    );
    expect(middle).not.toBe(id);
  });

  test('an agent that was killed by hand costs the chat nothing but time', async () => {
    const service = await start();
    const { pid } = await waitingAgent(service);
    process.kill(pid, 'SIGKILL');
    expect((await ask(service, 'say: all the same')).text).toBe('all the same');
    await waitingAgent(service);
  });

  test('a caller who hangs up ends it', async () => {
    const service = await start();
    const { id, pid } = await waitingAgent(service);
    const gone = new AbortController();
    const before = api.requests.length;
    const asked = ask(service, 'stall\nsay: never', {}, gone.signal).catch(() => null);
    await waitFor(
      () => api.requests.length,
      (count) => count > before,
      slow,
    );
    gone.abort();
    expect(await asked).toBeNull();
    expect(await service.finished(id)).toMatchObject({ status: 'cancelled', reason: 'client_gone' });
    expect(await isAlive(pid)).toBe(false);
  });

  test.each(['SIGTERM', 'SIGKILL'] as const)('nothing is left of it after a %s of the service', async (signal) => {
    const service = await start({ WARM_AGENTS: '2' });
    const agents = await waitingAgents(service, 2);
    service.signal(signal);
    await service.exited();
    await waitFor(
      () => agentsOf(service),
      (left) => left.length === 0,
      slow,
    );
    // What a killed process left on disk goes with the next start.
    const later = await start({ WARM_AGENTS: '0' }, service.dataDir);
    const names = await waitFor(
      async () => [
        ...(await readdir(join(later.dataDir, 'runs')).catch(() => [])),
        ...(await readdir(join(later.dataDir, 'jobs'))),
      ],
      (found) => agents.every(({ id }) => !found.includes(id)),
      slow,
    );
    expect(names.filter((name) => name.startsWith('job_'))).toEqual([]);
  });

  test('one that has waited is not refused its whole time, and is ended by it', async () => {
    const service = await start({ OPENAI_COMPAT_TIMEOUT_SECONDS: '4' });
    const { id } = await waitingAgent(service);
    const started = Date.now();
    const response = await service.post('/v1/chat/completions', {
      messages: [{ role: 'user', content: 'stall\nsay: x' }],
    });
    expect(response.status).toBe(504);
    expect(Date.now() - started).toBeGreaterThan(3_500);
    expect(await service.finished(id)).toMatchObject({ status: 'timeout', reason: 'timeout' });
  });
});
