import { randomUUID } from 'node:crypto';
import type { Clock, Log } from '../jobs/ports.ts';
import { readTail } from '../process/file-end.ts';
import { runProcess } from '../process/run-process.ts';
import { findExecutable } from './executable.ts';
import type { AgentProvider } from './provider.ts';
import { type RunDirectories, scratchPrefix } from './run-directory.ts';

/** A CLI does not break between two probes; starting one for each would cost more than the answer is worth. */
const recheckMs = 30_000;
/** It takes 0.1 s on an idle machine; on one that is busy starting ten agents, seconds. */
const timeoutMs = 10_000;
/** Nothing of a version check is worth waiting for. */
const graceMs = 200;
const maxOutputBytes = 64 * 1024;

export interface CliCheckDeps {
  readonly provider: AgentProvider;
  readonly bin: string;
  /** The environment of a run of this name. */
  readonly env: (name: string) => Readonly<Record<string, string>>;
  readonly directories: RunDirectories;
  readonly log: Log;
  readonly clock: Clock;
}

/** Says why the CLI cannot be run, or null. Many may ask at once: one check answers them all. */
export function createCliCheck(deps: CliCheckDeps): () => Promise<string | null> {
  let answer: Promise<string | null> | null = null;
  let askedAt = 0;
  return () => {
    const now = deps.clock.now();
    if (answer === null || now - askedAt >= recheckMs) {
      askedAt = now;
      answer = checkCli(deps);
    }
    return answer;
  };
}

/** Never rejects: a check that cannot be made is a reason, too. */
async function checkCli(deps: CliCheckDeps): Promise<string | null> {
  const name = `${scratchPrefix}${randomUUID()}`;
  try {
    return await runVersion(deps, name);
  } catch (error) {
    deps.log.warn({ err: error, provider: deps.provider.name }, 'the agent CLI could not be checked');
    return `The ${deps.provider.name} CLI could not be checked: see the log`;
  } finally {
    await deps.directories.remove(name);
  }
}

async function runVersion(
  { provider, bin, env, directories, log }: CliCheckDeps,
  name: string,
): Promise<string | null> {
  const variables = env(name);
  const file = await findExecutable(bin, variables['PATH']);
  if (file === null) return missing(provider);
  const paths = await directories.create(name, { prompt: '', systemPrompt: null, history: null });
  const exit = await runProcess(
    {
      command: { file, args: provider.versionArgs, env: variables, cwd: paths.directory },
      stdinFile: paths.prompt,
      stdoutFile: paths.stdout,
      stderrFile: paths.stderr,
      timeoutMs,
      graceMs,
      maxOutputBytes,
    },
    new AbortController().signal,
  );
  if (exit.exitCode === 0 && exit.endedBy === null) return null;
  const printed = (await readTail(paths.stdout, maxOutputBytes)) + (await readTail(paths.stderr, maxOutputBytes));
  log.warn({ provider: provider.name, exit, printed }, 'the agent CLI does not say its version');
  // What npm leaves where it was told to run no install scripts.
  const placeholder = printed.includes('native binary not installed');
  const why = exit.endedBy === 'timeout' ? 'does not answer' : placeholder ? 'is only half installed' : 'does not run';
  return `The ${provider.name} CLI ${why}: ${provider.installHint}`;
}

/** The sentence for a CLI that is not there. */
export function missing(provider: AgentProvider): string {
  return `The ${provider.name} CLI was not found: ${provider.installHint}`;
}
