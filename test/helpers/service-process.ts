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
const fakeClaude = join(root, 'test', 'fixtures', 'agents', 'fake-claude.mjs');
const startMs = 20_000;
const exitMs = 30_000;
/** At the end of a test: the service ends its agents within its grace, then it is killed. */
const lastExitMs = 5_000;

/** Undefined takes a variable of `baseEnvironment` away. */
type Environment = Readonly<Record<string, string | undefined>>;

export interface ServiceOptions {
  readonly env?: Environment;
  /** Kept from an earlier process: what a restart finds. */
  readonly dataDir?: string;
  /** Do not wait until it is ready: it is not going to be. */
  readonly unready?: boolean;
  /** What starts it; the default is what `npm start` runs. */
  readonly command?: readonly [string, ...string[]];
  /** Takes what ends the service, to be called last to first. Default: it ends with the test. */
  readonly atEnd?: AtEnd;
}

export type AtEnd = (end: () => Promise<void>) => void;

export interface ProcessEnd {
  /** -1 where a signal ended it. */
  readonly code: number;
  /** All that it printed. */
  readonly output: string;
}

/** The service as a process of its own, with an environment of its own. It is ended with the test, and its agents with it. */
export interface ServiceProcess {
  readonly url: string;
  readonly pid: number;
  readonly dataDir: string;
  /** All it printed so far. */
  output(): string;
  fetch(path: string, init?: RequestInit): Promise<Response>;
  /** Sends JSON. */
  post(path: string, body: unknown, signal?: AbortSignal): Promise<Response>;
  /** The JSON object that the path answers with. */
  read(path: string): Promise<Record<string, unknown>>;
  /** Submits a job; answers its id. */
  submit(body: Readonly<Record<string, unknown>>): Promise<string>;
  /** The job once it is final. */
  finished(id: string): Promise<Record<string, unknown>>;
  signal(name: NodeJS.Signals): void;
  /** The exit code; -1 where a signal ended it. */
  exited(): Promise<number>;
}

export async function startServiceProcess(options: ServiceOptions = {}): Promise<ServiceProcess> {
  const { child, output, dir } = await spawnService(options);
  const url = await waitFor(
    () => urlIn(output()) ?? failIfExited(child, output()),
    (found) => found !== undefined,
    { timeoutMs: startMs, what: 'the service to listen' },
  );
  if (url === undefined) throw new Error('no URL');
  if (options.unready !== true) {
    // Asked before, the probe would keep its answer for a second.
    await waitFor(
      () => output().includes('"msg":"ready"') || failIfExited(child, output()),
      (ready) => ready === true,
      { timeoutMs: startMs, what: 'the service to say that it is ready' },
    );
    await waitFor(
      async () => await (await fetch(`${url}/readyz`)).text(),
      (text) => text === '{"status":"ok"}',
      { timeoutMs: startMs, what: 'the service to be ready' },
    );
  }
  return createHandle({ child, url, dir, output });
}

/** Starts a service that is not going to serve. */
export async function runServiceToItsEnd(options: ServiceOptions = {}): Promise<ProcessEnd> {
  const { child, output } = await spawnService(options);
  return { code: await codeOf(child, output), output: output() };
}

async function spawnService({ env, dataDir, command, atEnd = onTestFinished }: ServiceOptions) {
  const dir = dataDir ?? join(await temporaryDirectory(atEnd), 'data');
  const [file, ...args] = command ?? [process.execPath, join(root, 'src', 'main.ts')];
  const child = spawn(file, args, {
    cwd: root,
    env: { ...baseEnvironment(dir), ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let text = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8');
    stream.on('data', (chunk: string) => (text += chunk));
  }
  atEnd(() => endService(child));
  return { child, dir, output: () => text };
}

/** Asked twice it ends its agents at once; killed outright it could not. Two signals of one kind may arrive as one. */
async function endService(child: ChildProcess): Promise<void> {
  if (hasExited(child)) return;
  const exit = once(child, 'exit');
  child.kill('SIGTERM');
  child.kill('SIGINT');
  const timer = setTimeout(() => child.kill('SIGKILL'), lastExitMs);
  await exit;
  clearTimeout(timer);
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

export async function temporaryDirectory(atEnd: AtEnd = onTestFinished): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'service-'));
  atEnd(() => rm(path, { recursive: true, force: true, maxRetries: 5 }));
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
  const read = async (path: string): Promise<Record<string, unknown>> => asRecord(await (await call(path)).json());
  const post = async (path: string, body: unknown, signal?: AbortSignal): Promise<Response> =>
    await call(path, { method: 'POST', body: JSON.stringify(body), ...(signal === undefined ? {} : { signal }) });
  return {
    url,
    pid: child.pid ?? -1,
    dataDir: dir,
    output,
    fetch: call,
    post,
    read,
    async submit(body) {
      const response = await post('/execute', body);
      const answer = asRecord(await response.json());
      if (response.status !== 202) throw new Error(`${response.status}: ${JSON.stringify(answer)}`);
      return String(answer['job_id']);
    },
    async finished(id) {
      for (;;) {
        const job = await read(`/jobs/${id}?wait=60`);
        if (job['status'] !== 'queued' && job['status'] !== 'running') return job;
      }
    },
    signal: (name) => void child.kill(name),
    exited: () => codeOf(child, output),
  };
}

async function codeOf(child: ChildProcess, output: () => string): Promise<number> {
  await waitFor(
    () => hasExited(child),
    (exited) => exited,
    { timeoutMs: exitMs, what: 'the service to exit' },
  ).catch((error: unknown) => {
    throw new Error(`the service did not exit; it printed: ${output()}`, { cause: error });
  });
  return child.exitCode ?? -1;
}

function hasExited(child: ChildProcess): boolean {
  return child.exitCode !== null || child.signalCode !== null;
}

function headersOf(init: RequestInit): Record<string, string> {
  const given = Object.fromEntries(new Headers(init.headers).entries());
  return init.body === undefined ? given : { 'content-type': 'application/json', ...given };
}

export function asRecord(value: unknown): Record<string, unknown> {
  if (typeof value !== 'object' || value === null) throw new Error(`no object: ${String(value)}`);
  return Object.fromEntries(Object.entries(value));
}

function urlIn(output: string): string | undefined {
  return /"url":"([^"]+)".*"msg":"listening"/.exec(output)?.[1];
}

function failIfExited(child: ChildProcess, output: string): undefined {
  if (hasExited(child)) throw new Error(`the service ended with ${child.exitCode}: ${output}`);
  return undefined;
}

/** True while a process with this id is there and not a zombie. */
export async function isAlive(pid: number): Promise<boolean> {
  if (!existsSync(`/proc/${pid}`)) return false;
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => ') Z');
  return !/\) [ZX]/.test(stat);
}
