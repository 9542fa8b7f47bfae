import type { JobSpec } from '../jobs/job.ts';
import type { AgentRun } from '../jobs/ports.ts';
import type { Command } from '../process/command.ts';
import type { AdoptedFiles } from '../process/containment.ts';
import { agentEnvironment, jobMark } from './environment.ts';
import { findExecutable } from './executable.ts';
import type { AgentProvider } from './provider.ts';
import type { RunInput, RunPaths } from './run-directory.ts';

/** What decides how an agent's program is started. */
export interface RunSettings {
  readonly providers: Readonly<Record<string, AgentProvider>>;
  /** Each provider's program: a name on PATH, or a path. */
  readonly bin: Readonly<Record<string, string>>;
  /** The service's own environment, of which an agent sees what `agentEnvironment` passes on. */
  readonly sourceEnv: Readonly<Record<string, string | undefined>>;
  readonly allowEnv: readonly string[];
  /** From the first signal to SIGKILL. */
  readonly graceMs: number;
  /** Standard output and error of one run together. */
  readonly maxOutputBytes: number;
  /** How long an agent may print nothing where its job does not say; null: as long as it likes. */
  readonly idleMs?: number | null;
  /** Once aborted, runs end without grace. */
  readonly hurry: AbortSignal;
}

export function inputOf(provider: AgentProvider, { spec, workspacePath }: AgentRun): RunInput {
  const { systemPrompt, history, model } = spec;
  const turns = history === undefined ? null : (provider.history?.(history, workspacePath, model) ?? null);
  return { prompt: provider.stdin(spec), systemPrompt, history: turns };
}

/** Null where the CLI is missing. */
export async function commandOf(
  settings: RunSettings,
  { id, spec, workspacePath }: AgentRun,
  paths: RunPaths,
  args: readonly string[],
): Promise<Command | null> {
  const provider = providerOf(settings, spec);
  if (provider === undefined) return null;
  const env = environment(settings, provider, id, paths);
  const file = await findExecutable(binOf(settings, provider), env['PATH']);
  return file === null ? null : { file, args, env, cwd: workspacePath };
}

export function optionsOf(
  { graceMs, hurry, maxOutputBytes, idleMs = null }: RunSettings,
  { id, spec, workspacePath }: AgentRun,
  paths: RunPaths,
  command: Command,
) {
  return {
    command,
    stdoutFile: paths.stdout,
    stderrFile: paths.stderr,
    timeoutMs: spec.timeoutMs,
    idleMs: (spec.idleTimeoutMs ?? idleMs) || null,
    graceMs,
    hurry,
    maxOutputBytes,
    access: {
      writable: [workspacePath, paths.config, paths.tmp],
      readable: [
        ...(spec.systemPrompt === null ? [] : [paths.systemPrompt]),
        ...(spec.history === undefined ? [] : [paths.history]),
      ],
    },
    // Set in the agent's environment, and so in that of all it starts.
    ...filesOf(paths, id),
  };
}

/** What ties a run to the supervisor that holds it. */
export function filesOf({ record, exit }: RunPaths, id: string): AdoptedFiles {
  return { mark: `${jobMark}=${id}`, recordFile: record, exitFile: exit };
}

export function environment(
  { sourceEnv, allowEnv }: RunSettings,
  provider: AgentProvider,
  jobId: string,
  paths: RunPaths,
) {
  return agentEnvironment({
    ...provider.variables(paths),
    source: sourceEnv,
    allow: allowEnv,
    jobId,
    tmpDir: paths.tmp,
    isRoot: process.getuid?.() === 0,
  });
}

export function providerOf({ providers }: RunSettings, { provider }: JobSpec): AgentProvider | undefined {
  return Object.hasOwn(providers, provider) ? providers[provider] : undefined;
}

export function binOf({ bin }: RunSettings, { name }: AgentProvider): string {
  return bin[name] ?? name;
}
