import { stat } from 'node:fs/promises';
import { lingering } from './agent-outcome.ts';

export interface LingerOptions {
  readonly stdoutFile: string;
  /** Whether the file ends with a result. Asked once for each pause of the agent. */
  readonly hasResult: () => Promise<boolean>;
  readonly patienceMs: number;
}

/** Aborts `signal` once the agent has printed its result and then nothing for a while. Must be stopped. */
export function watchLingering(options: LingerOptions): { readonly signal: AbortSignal; stop(): void } {
  const controller = new AbortController();
  let size = 0;
  let askedAt = 0;
  let checking = false;
  const check = async (): Promise<void> => {
    const before = size;
    size = await sizeOf(options.stdoutFile);
    if (size !== before || size === askedAt) return;
    askedAt = size;
    // A log that cannot be read now may be readable at the end; until then the timeout stands.
    if (await options.hasResult().catch(() => false)) controller.abort(lingering);
  };
  // Two looks that show the same size are the whole patience apart, so nothing is cut short that still prints.
  const timer = setInterval(() => {
    if (checking) return;
    checking = true;
    void check().then(() => {
      checking = false;
    });
  }, options.patienceMs);
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
