import { execa } from 'execa';

/** A program of ours that answers each request with a line, as long as there is use for it. */
export interface LineProgram {
  /** The line that it answers; null once it has ended, for which an abort sees. One request at a time. */
  ask(request: string, signal: AbortSignal): Promise<string | null>;
  /** Ends it, and what it is at. */
  end(): Promise<void>;
}

/** Never fails: one that cannot be started has ended. */
export function startLineProgram(file: string, args: readonly string[]): LineProgram {
  const how = { env: {}, extendEnv: false, stdin: 'pipe', stderr: 'ignore', reject: false, buffer: false } as const;
  const child = execa(file, args, how);
  // Its end is seen where its answers are read.
  child.stdin.on('error', () => undefined);
  const lines = child.iterable({ from: 'stdout' })[Symbol.asyncIterator]();
  const kill = () => void child.kill('SIGKILL');
  return {
    async ask(request, signal) {
      signal.addEventListener('abort', kill, { once: true });
      try {
        if (signal.aborted) kill();
        child.stdin.write(request);
        const line = await lines.next();
        if (line.done !== true) return line.value;
        await child;
        return null;
      } finally {
        signal.removeEventListener('abort', kill);
      }
    },
    async end() {
      kill();
      await child;
    },
  };
}
