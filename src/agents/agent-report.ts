import { type AgentReport, emptyReport, isStructured, type JobContainment, type JobSpec } from '../jobs/job.ts';
import { type Found, readTail } from '../process/file-end.ts';
import type { ProcessExit } from '../process/run-process.ts';
import { readText } from './agent-events.ts';
import { findResult } from './agent-result.ts';
import type { AgentOutput, AgentResult } from './provider.ts';
import type { RunPaths } from './run-directory.ts';

/** Enough to see what went wrong; the whole of it is in the log. */
const maxTailBytes = 64 * 1024;
/** What a run that has ended left behind, from its files. */
export async function readReport(
  paths: RunPaths,
  spec: JobSpec,
  output: AgentOutput,
  exit: ProcessExit,
): Promise<{ readonly report: AgentReport; readonly found: Found<AgentResult> }> {
  const found = await findResult(paths.stdout, output);
  const fields = found.outcome === 'found' ? fieldsOf(found.value) : emptyReport;
  const report: AgentReport = {
    ...fields,
    exitCode: exit.exitCode,
    containment: containmentOf(exit),
    output:
      found.outcome === 'found' ? [found.line.toString('utf8')] : lines(await readTail(paths.stdout, maxTailBytes)),
    stderr: await readTail(paths.stderr, maxTailBytes),
    // Read for those who answer with it alone: it takes a second pass over the log.
    text:
      spec.kind === 'chat' || spec.door !== undefined ? await readText(paths.stdout, output, isStructured(spec)) : null,
  };
  return { report, found };
}

function containmentOf({ containment }: ProcessExit): JobContainment | null {
  if (containment === null) return null;
  const { cpuMs, ...known } = containment;
  return { ...known, cpuSeconds: cpuMs === null ? null : cpuMs / 1000 };
}

function fieldsOf({ failure: _, structured: _s, ...fields }: AgentResult): Omit<AgentResult, 'failure' | 'structured'> {
  return fields;
}

function lines(text: string): readonly string[] {
  if (text === '') return [];
  return (text.endsWith('\n') ? text.slice(0, -1) : text).split('\n');
}
