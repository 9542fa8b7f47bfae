import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { onTestFinished } from 'vitest';
import { waitFor } from './wait.ts';

const root = join(import.meta.dirname, '..', '..');
export const token = 'test-token-0123456789abcdef';
/** The fake claude CLI: a real program, steered by the prompt. */
export const fakeClaude = join(root, 'test', 'fixtures', 'agents', 'fake-claude.mjs');
const startMs = 20_000;
const exitMs = 30_000;

export interface ServiceOptions {
  readonly env?: Readonly<Record<string, string>>;
  /** Kept from an earlier process: what a restart finds. */
  readonly dataDir?: string;
  /** Do not wait until it is ready: it is not going to be. */
  readonly unready?: boolean;
}

/** The service as a process of its own, with an environment of its own. It is ended with the test. */
export interface ServiceProcess {
  readonly url: string;
  readonly pid: number;
  readonly dataDir: string;
  /** All it printed so far. */
  output(): string;
  fetch(path: string, init?: RequestInit): Promise<Response>;
  /** Submits a job; answers its id. */
  submit(body: Readonly<Record<string, unknown>>): Promise<string>;
  /** The job once it is final. */
  finished(id: string): Promise<Record<string, unknown>>;
  signal(name: NodeJS.Signals): void;
  /** The exit code; -1 where a signal ended it. */
  exited(): Promise<number>;
}

export async function startServiceProcess({ env, dataDir, unready }: ServiceOptions = {}): Promise<ServiceProcess> {
  const dir = dataDir ?? join(await temporaryDirectory(), 'data');
  const child = spawn(process.execPath, [join(root, 'src', 'main.ts')], {
    cwd: root,
    env: { ...baseEnvironment(dir), ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8');
    stream.on('data', (chunk: string) => (output += chunk));
  }
  const exit = once(child, 'exit');
  onTestFinished(async () => {
    child.kill('SIGKILL');
    await exit;
  });
  const url = await waitFor(
    () => urlIn(output) ?? failIfExited(child, output),
    (found) => found !== undefined,
    {
      timeoutMs: startMs,
      what: 'the service to listen',
    },
  );
  if (url === undefined) throw new Error('no URL');
  const service = createHandle({ child, url, dir, output: () => output });
  if (unready !== true) {
    await waitFor(
      async () => await (await fetch(`${url}/readyz`)).text(),
      (text) => text === '{"status":"ok"}',
      {
        timeoutMs: startMs,
        what: 'the service to be ready',
      },
    );
  }
  return service;
}

/** What the service needs and nothing else: no credential of this machine, no port that somebody else has. */
export function baseEnvironment(dataDir: string): Record<string, string> {
  return {
    PATH: `${join(root, 'node_modules', '.bin')}:/usr/local/bin:/usr/bin:/bin`,
    HOME: dirname(dataDir),
    DATA_DIR: dataDir,
    HOST: '127.0.0.1',
    PORT: '0',
    API_BEARER_TOKEN: token,
    CLAUDE_BIN: fakeClaude,
    ANTHROPIC_API_KEY: 'dummy',
  };
}

export async function temporaryDirectory(): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'service-'));
  onTestFinished(() => rm(path, { recursive: true, force: true, maxRetries: 5 }));
  return path;
}

interface HandleParts {
  readonly child: ChildProcess;
  readonly url: string;
  readonly dir: string;
  readonly output: () => string;
}

function createHandle({ child, url, dir, output }: HandleParts): ServiceProcess {
  const call = async (path: string, init: RequestInit = {}): Promise<Response> => {
    const headers = { authorization: `Bearer ${token}`, ...headersOf(init) };
    return await fetch(`${url}${path}`, { ...init, headers });
  };
  return {
    url,
    pid: child.pid ?? -1,
    dataDir: dir,
    output,
    fetch: call,
    async submit(body) {
      const response = await call('/execute', { method: 'POST', body: JSON.stringify(body) });
      const answer = asRecord(await response.json());
      if (response.status !== 202) throw new Error(`${response.status}: ${JSON.stringify(answer)}`);
      return String(answer['job_id']);
    },
    async finished(id) {
      for (;;) {
        const job = asRecord(await (await call(`/jobs/${id}?wait=60`)).json());
        if (job['status'] !== 'queued' && job['status'] !== 'running') return job;
      }
    },
    signal: (name) => void child.kill(name),
    async exited() {
      const hasExited = (): boolean => child.exitCode !== null || child.signalCode !== null;
      await waitFor(hasExited, Boolean, { timeoutMs: exitMs, what: 'the service to exit' });
      return child.exitCode ?? -1;
    },
  };
}

function headersOf({ body, headers }: RequestInit): Record<string, string> {
  const json = body === undefined || body === null ? {} : { 'content-type': 'application/json' };
  return { ...json, ...Object.fromEntries(new Headers(headers)) };
}

export function asRecord(value: unknown): Record<string, unknown> {
  if (typeof value !== 'object' || value === null) throw new Error(`not an object: ${String(value)}`);
  return { ...value };
}

function urlIn(output: string): string | undefined {
  return /"url":"([^"]+)".*"msg":"listening"/.exec(output)?.[1];
}

function failIfExited(child: ChildProcess, output: string): undefined {
  if (child.exitCode !== null) throw new Error(`the service ended with ${child.exitCode}: ${output}`);
  return undefined;
}

/** True while a process with this id is there and not a zombie. */
export async function isAlive(pid: number): Promise<boolean> {
  if (!existsSync(`/proc/${pid}`)) return false;
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => ') Z');
  return !/\) [ZX]/.test(stat);
}
