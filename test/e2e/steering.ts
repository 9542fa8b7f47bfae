import { existsSync } from 'node:fs';

import { readdir, readFile, writeFile } from 'node:fs/promises';

import { join } from 'node:path';

import { onTestFinished } from 'vitest';

import { asRecord, isAlive, type ServiceProcess, temporaryDirectory } from '../helpers/service-process.ts';

import { waitFor } from '../helpers/wait.ts';

/** Lines for the prompt of the fake claude with which a test sees what its agents do, and holds them. */

/** An agent, or a tool of one, that writes its process id into a file. */
export interface Tracked {
  /** Goes into the prompt: an agent that says who it is. */
  readonly line: string;
  readonly file: string;
  hasStarted(): boolean;
  /** Waits until it has started. */
  pid(): Promise<number>;
  /** Resolves once no process of that id is left. */
  gone(): Promise<void>;
}

/** Whatever the test finds, the process is gone after it. */
export async function track(): Promise<Tracked> {
  const file = join(await temporaryDirectory(), 'pid');
  const recorded = async (): Promise<number> => Number(await readFile(file, 'utf8').catch(() => ''));
  onTestFinished(async () => {
    const pid = await recorded();
    if (pid > 1 && (await isAlive(pid))) process.kill(pid, 'SIGKILL');
  });
  return {
    line: `pid-file: ${file}`,
    file,
    hasStarted: () => existsSync(file),
    pid: () => waitFor(recorded, (pid) => pid > 1, { what: 'the agent to start' }),
    async gone() {
      const pid = await recorded();
      await waitFor(
        () => isAlive(pid),
        (alive) => !alive,
        { what: `process ${pid} to be gone` },
      );
    },
  };
}

/** What agents wait for, in a tool, until the test opens it. */
export interface Gate {
  readonly line: string;
  open(): Promise<void>;
}

export async function createGate(): Promise<Gate> {
  const file = join(await temporaryDirectory(), 'open');
  return { line: waitForFile(file), open: () => writeFile(file, '') };
}

/** Agents that end only if as many as there are names run at the same time: each waits until all others have arrived. */
export async function createMeeting(names: readonly string[]): Promise<readonly string[]> {
  const directory = await temporaryDirectory();
  return names.map((name) => {
    const others = names.filter((other) => other !== name).map((other) => waitForFile(join(directory, other)));
    return [`bash: touch ${join(directory, name)}`, ...others, `say: ${name} has met all`].join('\n');
  });
}

/** The workspaces that are there: what is being removed is no longer one. */
export async function workspacesOf({ dataDir }: Pick<ServiceProcess, 'dataDir'>): Promise<readonly string[]> {
  return (await readdir(join(dataDir, 'jobs'))).filter((name) => !name.startsWith('.'));
}

/** Bounded, and over when the directory is gone: a test that fails leaves nothing that runs. */
function waitForFile(file: string): string {
  const directory = file.slice(0, file.lastIndexOf('/'));
  return `bash: i=0; while [ ! -e ${file} ] && [ -d ${directory} ] && [ $i -lt 3000 ]; do i=$((i+1)); sleep 0.02; done`;
}

/** A chat request with one message. */
export function chat(prompt: string, more: Readonly<Record<string, unknown>> = {}): Readonly<Record<string, unknown>> {
  return { messages: [{ role: 'user', content: prompt }], ...more };
}

/** Waits until so many jobs run. */
export async function untilActive(service: ServiceProcess, active: number): Promise<void> {
  await waitFor(
    async () => (await service.read('/health'))['active'],
    (count) => count === active,
    { what: `${active} running jobs` },
  );
}

/** Waits until all that was put away is also removed. */
export async function untilTrashIsEmpty({ dataDir }: ServiceProcess): Promise<void> {
  await waitFor(
    () => readdir(join(dataDir, 'jobs', '.trash')),
    (names) => names.length === 0,
    { timeoutMs: 60_000, what: 'the trash to be empty' },
  );
}

/** What an agent that was told to `dump` saw. */
export function dumpIn(job: Readonly<Record<string, unknown>>): Readonly<Record<string, unknown>> {
  return asRecord(JSON.parse(String(job['result'])));
}
