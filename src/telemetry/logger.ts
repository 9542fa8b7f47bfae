import { type Logger, pino, stdTimeFunctions } from 'pino';

export type { Logger };

/** Fields that may hold a secret: never shown, at the top or up to two levels down, as in what an error brings along. */
const secretNames = ['authorization', 'cookie', 'headers', 'token'];

/** One JSON line per event on standard output. What a caller sends is never logged but for its id and path. */
export function createLogger(level: string): Logger {
  return pino({
    level,
    timestamp: stdTimeFunctions.isoTime,
    base: null,
    redact: secretNames.flatMap((name) => [name, `*.${name}`, `*.*.${name}`]),
  });
}
