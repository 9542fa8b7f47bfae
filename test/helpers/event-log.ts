import type { AgentEvent } from '../../src/jobs/ports.ts';

export interface EventLog {
  readonly add: (event: AgentEvent) => void;
  readonly end: () => void;
  readonly heard: () => Promise<void>;
  read(signal: AbortSignal): AsyncIterable<AgentEvent>;
}

export function createEventLog(): EventLog {
  const events: AgentEvent[] = [];
  let ended = false;
  let read = 0;
  let changed = Promise.withResolvers<void>();
  const tell = (): void => {
    changed.resolve();
    changed = Promise.withResolvers<void>();
  };
  return {
    add(event) {
      events.push(event);
      tell();
    },
    end() {
      ended = true;
      tell();
    },
    async heard() {
      while (read < events.length) await changed.promise;
    },
    async *read(signal) {
      const { promise: aborted, reject } = Promise.withResolvers<never>();
      // Nobody may be waiting for it when the signal aborts.
      aborted.catch(() => {});
      signal.addEventListener('abort', () => reject(signal.reason), { once: true });
      for (let at = 0; ; ) {
        signal.throwIfAborted();
        const event = events[at];
        if (event !== undefined) {
          at += 1;
          yield event;
          // Asked for the next one: this one has been dealt with.
          read = Math.max(read, at);
          tell();
        } else if (ended) return;
        else await Promise.race([changed.promise, aborted]);
      }
    },
  };
}
