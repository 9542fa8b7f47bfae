import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { asRecord } from '../helpers/service-process.ts';
import type { ClientSettings } from './openai-clients.ts';

/** Clients that run in programs of their own, as they are for Python or too heavy to be installed with the service. */
export interface ClientProgram {
  readonly command: readonly [file: string, ...args: string[]];
  /** What it needs that `npm ci` does not install. */
  readonly needs: string;
  readonly isInstalled: boolean;
}

export interface ProgramCall {
  readonly client: string;
  readonly form: string;
  readonly prompt: string;
  /** Of the client, in seconds. */
  readonly timeout?: number;
}

/** How a call ended: with an answer, or with what the client made of a failure. */
export interface ProgramEnd {
  readonly answer?: unknown;
  readonly error?: string;
  /** How often the client asked. */
  readonly tries: number;
}

export interface RunningProgram {
  readonly call: Caller;
  readonly end: () => Promise<void>;
}

export type Caller = (settings: ClientSettings, call: ProgramCall) => Promise<ProgramEnd>;

const folder = import.meta.dirname;
const pythonFile = join(folder, 'python', '.venv', 'bin', 'python');

export const pythonClients: ClientProgram = {
  command: [pythonFile, join(folder, 'python', 'clients.py')],
  needs: 'the clients for Python (see CONTRIBUTING.md)',
  isInstalled: existsSync(pythonFile),
};

export const nodeClients: ClientProgram = {
  command: [process.execPath, join(folder, 'clients', 'clients.mjs')],
  needs: 'the heavy clients (see CONTRIBUTING.md)',
  isInstalled: existsSync(join(folder, 'clients', 'node_modules')),
};

/** Starts the program. Its calls reject once it has ended. */
export function startProgram({ command: [file, ...args] }: ClientProgram): RunningProgram {
  // Nothing of this environment: no credential, no proxy, no base URL of another service.
  const child = spawn(file, args, { stdio: ['pipe', 'pipe', 'pipe'], env: { PATH: process.env['PATH'] ?? '' } });
  const waiting = new Map<number, PromiseWithResolvers<ProgramEnd>>();
  let printed = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => (printed += text));
  createInterface({ input: child.stdout }).on('line', (line) => {
    // Libraries print, too.
    if (!line.startsWith('{"id"')) return;
    const { id, ...end } = asRecord(JSON.parse(line));
    waiting.get(Number(id))?.resolve(end as unknown as ProgramEnd);
  });
  const exited = once(child, 'exit').then(() => {
    for (const { reject } of waiting.values()) reject(new Error(`the program has ended: ${printed}`));
  });
  let lastId = 0;
  const call: Caller = async ({ baseURL, apiKey }, question) => {
    lastId += 1;
    const end = Promise.withResolvers<ProgramEnd>();
    waiting.set(lastId, end);
    child.stdin.write(`${JSON.stringify({ id: lastId, base_url: baseURL, api_key: apiKey, ...question })}\n`);
    return await end.promise;
  };
  const end = async (): Promise<void> => {
    child.stdin.end();
    child.kill();
    await exited;
  };
  return { call, end };
}
