import { stat } from 'node:fs/promises';
import { lingering } from './agent-outcome.ts';
import { findResult } from './agent-result.ts';
import type { AgentOutput } from './provider.ts';

interface LingerOptions {
  readonly stdoutFile: string;
  readonly output: AgentOutput;
  readonly patienceMs: number;
}

/** The signal that `work` gets aborts with the given one, and when the agent has its result out and does not leave. */
export async function untilResult<E>(
  options: LingerOptions,
  signal: AbortSignal,
  work: (ended: AbortSignal) => Promise<E>,
): Promise<E> {
  const linger = watchLingering(options);
  try {
    return await work(AbortSignal.any([signal, linger.signal]));
  } finally {
    linger.stop();
  }
}

/** Aborts `signal` once the agent has printed its result and then nothing for a while. Must be stopped. */
function watchLingering({ stdoutFile, output, patienceMs }: LingerOptions): {
  readonly signal: AbortSignal;
  stop(): void;
} {
  const controller = new AbortController();
  const hasResult = async (): Promise<boolean> => (await findResult(stdoutFile, output)).outcome === 'found';
  let size = 0;
  let askedAt = 0;
  let checking = false;
  const check = async (): Promise<void> => {
    const before = size;
    size = await sizeOf(stdoutFile);
    if (size !== before || size === askedAt) return;
    askedAt = size; // Asked once for each pause of the agent.
    // A log that cannot be read now may be readable at the end; until then the timeout stands.
    if (await hasResult().catch(() => false)) controller.abort(lingering);
  };
  // Two looks that show the same size are the whole patience apart, so nothing is cut short that still prints.
  const timer = setInterval(() => {
    if (checking) return;
    checking = true;
    void check().then(() => {
      checking = false;
    });
  }, patienceMs);
  return { signal: controller.signal, stop: () => clearInterval(timer) };
}

async function sizeOf(file: string): Promise<number> {
  try {
    return (await stat(file)).size;
  } catch {
    // Not made yet, or taken away by the agent: nothing that could hold a result.
    return 0;
  }
}
