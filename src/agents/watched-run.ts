import type { AgentRun } from '../jobs/ports.ts';
import type { ProcessExit } from '../process/run-process.ts';
import { findResult } from './agent-result.ts';
import type { AgentRunnerOptions } from './agent-runner.ts';
import { watchLingering } from './lingering.ts';
import type { AgentOutput } from './provider.ts';
import type { RunPaths } from './run-directory.ts';

/** The CLI leaves within 0.1 s of its result; some runs never do, and would keep their place until the timeout. */
const defaultLingerMs = 10_000;

export interface WatchedExit extends ProcessExit {
  readonly diskBytes: number | null;
}

/** Runs what `attend` runs until its end; the signal given to it also aborts when the agent lingers or takes too much disk. */
export async function watched(
  { lingerMs, disk }: Pick<AgentRunnerOptions, 'lingerMs' | 'disk'>,
  { id, workspacePath }: AgentRun,
  paths: RunPaths,
  output: AgentOutput,
  attend: (signals: readonly AbortSignal[]) => Promise<ProcessExit>,
): Promise<WatchedExit> {
  const hasResult = async (): Promise<boolean> => (await findResult(paths.stdout, output)).outcome === 'found';
  const linger = watchLingering({ stdoutFile: paths.stdout, hasResult, patienceMs: lingerMs ?? defaultLingerMs });
  const usage = disk?.watch(id, [workspacePath, paths.directory]);
  try {
    const exit = await attend(usage === undefined ? [linger.signal] : [linger.signal, usage.signal]);
    return { ...exit, diskBytes: usage?.peakBytes() ?? null };
  } finally {
    linger.stop();
    usage?.stop();
  }
}
