import type { ServerResponse } from 'node:http';

/**
 * A signal that aborts when the caller's connection goes before the whole answer went out: from the first moment, not from the
 * first byte. It listens on the answer and not on the connection, on which many requests may follow each other.
 */
export function whenClosed(response: ServerResponse): AbortSignal {
  const controller = new AbortController();
  if (response.req.socket.destroyed) controller.abort();
  response.once('close', () => {
    if (!response.writableFinished) controller.abort();
  });
  return controller.signal;
}
