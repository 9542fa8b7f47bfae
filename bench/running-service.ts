import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';

const root = join(import.meta.dirname, '..');
export const agents = join(root, 'test', 'fixtures', 'agents');
export const headers = { authorization: 'Bearer bench-token', 'content-type': 'application/json' };
const startMs = 120_000;

export interface RunningService extends AsyncDisposable {
  readonly url: string;
  readonly dir: string;
  readonly pid: number;
  /** The first of what it printed: one JSON object per line. */
  output(): string;
  call(path: string, body?: object): Promise<Record<string, unknown>>;
}

/** The service as `npm start` starts it, as a process of its own, ready, with the settings given and a directory that goes with it. */
export async function startService(settings: Readonly<Record<string, string>>): Promise<RunningService> {
  const dir = await mkdtemp(join(tmpdir(), 'bench-'));
  const child = spawn(process.execPath, ['--max-semi-space-size=4', join(root, 'src', 'main.ts')], {
    env: {
      NODE_COMPILE_CACHE: join(root, 'node_modules', '.cache', 'compiled'),
      MALLOC_ARENA_MAX: '1',
      PATH: process.env['PATH'] ?? '/usr/bin:/bin',
      HOME: dir,
      DATA_DIR: join(dir, 'data'),
      PORT: '0',
      LOG_LEVEL: 'info',
      DRAIN_SECONDS: '0',
      API_BEARER_TOKEN: 'bench-token',
      ANTHROPIC_API_KEY: 'none',
      ...settings,
    },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const exit = once(child, 'exit');
  let start = '';
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
    if (start.length < 100_000) start += chunk;
  });
  const deadline = Date.now() + startMs;
  let url: string | undefined;
  while (url === undefined || !(await fetch(`${url}/readyz`)).ok) {
    if (child.exitCode !== null || Date.now() > deadline) throw new Error(`the service did not start: ${start}`);
    url = /"url":"([^"]+)".*"msg":"listening"/.exec(start)?.[1];
    await delay(20);
  }
  const base = url;
  return {
    url: base,
    dir,
    pid: child.pid ?? 0,
    output: () => start,
    async call(path, body) {
      const request = body === undefined ? {} : { method: 'POST', body: JSON.stringify(body) };
      const answer: unknown = await (await fetch(`${base}${path}`, { ...request, headers })).json();
      if (typeof answer !== 'object' || answer === null) throw new Error(`${path} answered no object`);
      return { ...answer };
    },
    async [Symbol.asyncDispose]() {
      child.kill('SIGTERM');
      await exit;
      await rm(dir, { recursive: true, force: true, maxRetries: 5 });
    },
  };
}
