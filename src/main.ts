import { readFileSync } from 'node:fs';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { ConfigError, readConfig } from './config.ts';
import { type Service, startService } from './service.ts';

/** The process: settings from the environment, signals, exit codes. */

/** `EX_CONFIG` of sysexits.h: a restart does not help. */
const exitConfig = 78;
/** A second signal means now: agents get SIGKILL, and this long is left to write down that they did. */
const hurryMs = 3_000;

/**
 * By how much the heap may grow over what lives in it before garbage is collected. V8 lets it grow up to fourfold; but each start of a
 * process copies the map of our memory, so that memory is time: 0.1 MB more per job, until the first collection at some 100 MB.
 */
const heapGrowthPercent = 10;

await main();

async function main(): Promise<void> {
  const service = await start();
  if (service === undefined) return;
  if (service.madeToken !== null) showToken(service.madeToken, service.url);
  let signals = 0;
  const onSignal = (signal: NodeJS.Signals): void => {
    signals += 1;
    if (signals === 1) void end(service, 0);
    else {
      service.log.warn({ signal }, 'ending at once');
      service.hurry();
      setTimeout(() => process.exit(1), hurryMs).unref();
    }
  };
  process.on('SIGTERM', onSignal);
  process.on('SIGINT', onSignal);
  // A fault of ours: what runs is ended in order, for a process in an unknown state must not go on.
  process.on('uncaughtException', (error) => {
    service.log.fatal({ err: error }, 'unexpected error: shutting down');
    service.hurry();
    setTimeout(() => process.exit(1), hurryMs).unref();
    void end(service, 1);
  });
  // Last: it takes milliseconds, in which a signal must not find nobody to hear it.
  keepHeapSmall();
}

async function start(): Promise<Service | undefined> {
  try {
    const config = readConfig(process.env);
    return await startService({ config, env: process.env, version: version() });
  } catch (error) {
    process.exitCode = error instanceof ConfigError ? exitConfig : 1;
    process.stderr.write(`${startError(error)}\n`);
    return undefined;
  }
}

async function end(service: Service, code: number): Promise<void> {
  try {
    await service.stop();
    process.exit(code);
  } catch (error) {
    service.log.fatal({ err: error }, 'stopped in disorder');
    process.exit(1);
  }
}

/**
 * Collects what the start left: from then on V8 knows how much lives, and so when to collect. Only now, for compiled code is kept by the
 * flags of its time: the store's thread would have found none.
 */
function keepHeapSmall(): void {
  setFlagsFromString(`--heap-growing-percent=${heapGrowthPercent}`);
  setFlagsFromString('--expose-gc');
  runInNewContext('gc()');
}

function startError(error: unknown): string {
  if (error instanceof ConfigError) return error.message;
  const reason = error instanceof Error ? error.message : String(error);
  return `The service could not start: ${reason}`;
}

function showToken(token: string, url: string): void {
  process.stdout.write(
    `\nNo token was configured, so one was made. It is shown this once; only its hash is kept.\n\n  ${token}\n\n` +
      `  curl -H 'Authorization: Bearer ${token}' ${url}/jobs\n\n`,
  );
}

function version(): string {
  const file: unknown = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8'));
  return typeof file === 'object' && file !== null && 'version' in file ? String(file.version) : '0.0.0';
}
