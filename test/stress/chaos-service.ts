import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';

const root = join(import.meta.dirname, '..', '..');
const token = 'chaos-token-0123456789';
const startMs = 30_000;

type Call = Omit<RequestInit, 'headers'> & { readonly headers?: Readonly<Record<string, string>> };

export interface ChaosService {
  /** Once it listens. */
  readonly url: Promise<string>;
  /** As a crash does it. */
  kill(): Promise<void>;
  /** Rejects unless the answer is a good one. */
  read<T>(path: string, init?: Call): Promise<T>;
  text(path: string): Promise<string>;
}

/** What a job says of itself, as far as it is compared. */
export interface ChaosJob {
  readonly job_id: string;
  readonly status: string;
  readonly reason: string | null;
  readonly attempt: number;
  readonly max_attempts: number;
  readonly after: string | null;
  readonly retry_of: string | null;
  readonly created_at: string;
  readonly started_at: string | null;
  readonly finished_at: string | null;
}

/** The service, with an agent that keeps a ledger in this directory; what is compiled is kept in the shared one. */
export function startChaosService(shared: string, directory: string): ChaosService {
  const child = spawn(process.execPath, [join(root, 'src', 'main.ts')], {
    cwd: root,
    env: {
      PATH: `${join(root, 'node_modules', '.bin')}:/usr/local/bin:/usr/bin:/bin`,
      ...{ HOME: directory, DATA_DIR: join(directory, 'data'), HOST: '127.0.0.1', PORT: '0', API_BEARER_TOKEN: token },
      ...{ CLAUDE_BIN: join(root, 'test', 'fixtures', 'agents', 'ledger.sh'), ANTHROPIC_API_KEY: 'dummy' },
      ...{ AGENT_ENV: 'CHAOS_LEDGER', CHAOS_LEDGER: join(directory, 'ledger') },
      ...{ MAX_QUEUE_DEPTH: '100000', MAX_CONCURRENCY: '4', NODE_COMPILE_CACHE: compileCache(shared) },
    },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const exit = once(child, 'exit');
  const url = listening(child);
  // Killed before it listens: nobody waits for that.
  url.catch(() => undefined);
  const call = async (path: string, init: Call = {}): Promise<Response> => {
    const headers = { authorization: `Bearer ${token}`, 'content-type': 'application/json', ...init.headers };
    const response = await fetch(`${await url}${path}`, { ...init, headers });
    if (!response.ok) throw new Error(`${path} answered ${response.status}`);
    return response;
  };
  return {
    url,
    async kill() {
      child.kill('SIGKILL');
      await exit;
    },
    read: async <T>(path: string, init?: Call) => (await (await call(path, init)).json()) as T,
    text: async (path) => await (await call(path)).text(),
  };
}

/** A process that is killed never keeps what it compiled: done once for all, each start is that much shorter. */
export async function warmUp(directory: string): Promise<void> {
  const child = spawn('/bin/sh', [join(root, 'native', 'precompile.sh')], {
    env: { PATH: `${join(root, 'node_modules', '.bin')}:/usr/bin:/bin`, NODE_COMPILE_CACHE: compileCache(directory) },
    stdio: 'inherit',
  });
  await once(child, 'exit');
}

function compileCache(directory: string): string {
  return join(directory, 'compiled');
}

async function listening(child: ChildProcess): Promise<string> {
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  const timer = setTimeout(() => reject(new Error('the service did not start')), startMs);
  let output = '';
  child.stdout?.setEncoding('utf8').on('data', (text: string) => {
    output = (output + text).slice(-10_000);
    const url = /"url":"([^"]+)".*"msg":"listening"/.exec(output)?.[1];
    if (url !== undefined) resolve(url);
  });
  child.once('exit', () => reject(new Error(`the service ended: ${output}`)));
  return await promise.finally(() => clearTimeout(timer));
}
