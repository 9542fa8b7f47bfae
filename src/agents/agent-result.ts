import { type Found, findLastLine } from '../process/file-end.ts';
import type { AgentOutput, AgentResult } from './provider.ts';

/** A line is parsed in one piece, and this takes about 0.1 s: longer than any answer, short enough to stand the stall. */
export const maxLineBytes = 16 * 1024 * 1024;
/** A result is the last line, or nearly: an agent that printed this much after it is not searched further. */
const maxLookBackBytes = 64 * 1024 * 1024;

/** The agent's last word, if it had one. */
export async function findResult(stdoutFile: string, output: AgentOutput): Promise<Found<AgentResult>> {
  const limits = { needle: output.resultNeedle, maxLineBytes, maxLookBackBytes };
  return await findLastLine(stdoutFile, output.readResult, limits);
}
