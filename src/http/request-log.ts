import type { FastifyBaseLogger } from 'fastify';

type Bindings = Parameters<FastifyBaseLogger['child']>[0];
type Options = Parameters<FastifyBaseLogger['child']>[1];

/**
 * The log of one request, as the server's with `bindings`, made when something is first written to it: most requests write
 * nothing, and making it costs as much as validating a body.
 */
export function createRequestLog(server: FastifyBaseLogger, bindings: Bindings, options: Options): FastifyBaseLogger {
  const log: RequestLog = { ...methods, server, bindings, options, made: undefined, level: server.level };
  return log;
}

interface RequestLog extends FastifyBaseLogger {
  readonly server: FastifyBaseLogger;
  readonly bindings: Bindings;
  readonly options: Options;
  made: FastifyBaseLogger | undefined;
}

/** Shared by all: a set of functions for each request would cost half of what they save. */
const methods = {
  fatal: write('fatal'),
  error: write('error'),
  warn: write('warn'),
  info: write('info'),
  debug: write('debug'),
  trace: write('trace'),
  silent: () => undefined,
  child(this: RequestLog, bindings: Bindings, options: Options): FastifyBaseLogger {
    return own(this).child(bindings, options);
  },
};

function write(level: 'fatal' | 'error' | 'warn' | 'info' | 'debug' | 'trace') {
  return function (this: RequestLog, ...args: [unknown, string?]): void {
    own(this)[level](...args);
  };
}

function own(log: RequestLog): FastifyBaseLogger {
  return (log.made ??= log.server.child(log.bindings, log.options));
}
