import { once } from 'node:events';
import type { FastifyReply } from 'fastify';

/** A caller who takes nothing for so long has gone, or means harm: what waits for it ends. Above every pause of a client seen. */
const defaultStallMs = 300_000;

export interface SseEvent {
  /** One line: JSON without line breaks. */
  readonly data: string;
  readonly event?: string;
  readonly id?: string;
}

/** An open event stream. Frames go out whole and in the order of the calls. */
export interface SseWriter {
  /** Resolves when the connection takes more: wait for it before making the next frame. Rejects once the caller has gone. */
  send(frame: SseEvent): Promise<void>;
  /** Keeps proxies from cutting; left out while the connection takes no more. Ends with one newline: some clients take a blank line after a comment for an event. */
  comment(text: string): void;
  /** True while nothing more can be taken: what is not needed is better not sent. */
  isFull(): boolean;
  end(): void;
}

/**
 * Answers with an event stream, headers at once, with the headers set on the reply so far. `signal` aborts when the caller hangs
 * up (`whenClosed`). A caller who takes nothing for `stallMs` is cut off, which counts as hanging up.
 */
export function openSse(reply: FastifyReply, signal: AbortSignal, stallMs = defaultStallMs): SseWriter {
  const { raw } = reply.hijack();
  // A write that crosses the caller's hanging up reports it here too; `signal` has told already.
  raw.on('error', (error) => reply.log.debug({ err: error }, 'event stream broke'));
  // `x-accel-buffering` keeps nginx from collecting the stream.
  reply.headers({
    'content-type': 'text/event-stream; charset=utf-8',
    'cache-control': 'no-cache',
    'x-accel-buffering': 'no',
  });
  for (const [name, value] of Object.entries(reply.getHeaders())) if (value !== undefined) raw.setHeader(name, value);
  raw.flushHeaders();

  const drained = async (): Promise<void> => {
    const timer = setTimeout(() => raw.destroy(), stallMs);
    try {
      await once(raw, 'drain', { signal });
    } finally {
      clearTimeout(timer);
    }
  };

  return {
    async send(frame) {
      signal.throwIfAborted();
      if (!raw.write(frameText(frame))) await drained();
    },
    comment(text) {
      if (!signal.aborted && !raw.writableNeedDrain) raw.write(`: ${text}\n`);
    },
    isFull: () => raw.writableNeedDrain,
    end() {
      if (!raw.destroyed) raw.end();
    },
  };
}

function frameText({ id, event, data }: SseEvent): string {
  return `${id === undefined ? '' : `id: ${id}\n`}${event === undefined ? '' : `event: ${event}\n`}data: ${data}\n\n`;
}
