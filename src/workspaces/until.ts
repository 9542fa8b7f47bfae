/**
 * Waits for what others wait for too: an abort ends the wait, with the signal's reason, and not the work. The work is not
 * even begun once the signal has aborted.
 */
export async function until<Result>(begin: () => Promise<Result>, signal: AbortSignal): Promise<Result> {
  signal.throwIfAborted();
  const { promise: aborted, reject } = Promise.withResolvers<never>();
  const giveUp = () => reject(signal.reason);
  signal.addEventListener('abort', giveUp, { once: true });
  try {
    return await Promise.race([begin(), aborted]);
  } finally {
    signal.removeEventListener('abort', giveUp);
  }
}
