import type { ServerResponse } from 'node:http';

/**
 * A signal that aborts when the caller's connection goes before the whole answer went out: from the first moment, not from the
 * first byte. It listens on the answer and not on the connection, on which many requests may follow each other.
 */
export function whenCut(response: ServerResponse): AbortSignal {
  const controller = new AbortController();
  if (response.req.socket.destroyed) controller.abort();
  response.once('close', () => {
    if (!response.writableFinished) controller.abort();
  });
  return controller.signal;
}

/**
 * The same for work that is worth nothing without its caller: also when the caller only says that it sends no more, which is how
 * hanging up looks until something is written to it. Its connection is closed then.
 */
export function whenClosed(response: ServerResponse): AbortSignal {
  const { socket } = response.req;
  const hangUp = (): void => void socket.destroy();
  if (socket.readableEnded) hangUp();
  socket.once('end', hangUp);
  response.once('close', () => socket.off('end', hangUp));
  return whenCut(response);
}
