import type { AgentEvent } from '../jobs/ports.ts';
import { tailLines } from '../process/tail.ts';
import { findResult, maxLineBytes } from './agent-result.ts';
import type { AgentOutput } from './provider.ts';

/** Of all text together: it is held in memory and in the store. */
const maxTextLength = 16 * 1024 * 1024;

export interface EventSource {
  readonly stdoutFile: string;
  readonly output: AgentOutput;
  /** The answer is the JSON of the result. */
  readonly structured: boolean;
  /** True once the agent and all it started are gone. */
  readonly ended: () => boolean;
}

/** What an agent did, from the beginning of its log to the end of its run. */
export async function* readEvents(source: EventSource, signal: AbortSignal): AsyncGenerator<AgentEvent, void> {
  const { stdoutFile, output, structured, ended } = source;
  const reader = output.createReader(structured);
  let length = 0;
  for await (const line of tailLines(stdoutFile, { needles: output.eventNeedles, maxLineBytes, ended }, signal)) {
    for (const event of reader.read(line)) {
      if (event.type === 'text') length += event.text.length;
      if (length > maxTextLength) return;
      yield event;
    }
  }
  // Looked for only where it is needed: following a run need not search all of its output for it.
  const result = length === 0 && !signal.aborted ? await findResult(stdoutFile, output) : null;
  if (result?.outcome === 'found') yield* reader.read(result.line);
}

/** The whole answer of a run that has ended: what all who follow it were sent. */
export async function readText(stdoutFile: string, output: AgentOutput, structured: boolean): Promise<string> {
  const texts: string[] = [];
  const source = { stdoutFile, output, structured, ended: () => true };
  for await (const event of readEvents(source, new AbortController().signal)) {
    if (event.type === 'text') texts.push(event.text);
  }
  return texts.join('');
}
