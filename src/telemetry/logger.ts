import { type Logger, pino, stdTimeFunctions } from 'pino';

export type { Logger };

/** One JSON line per event on standard output. What a caller sends is never logged but for its id and path. */
export function createLogger(level: string): Logger {
  return pino({
    level,
    timestamp: stdTimeFunctions.isoTime,
    base: null,
    redact: ['*.authorization', '*.cookie', '*.headers', 'token', '*.token'],
  });
}
