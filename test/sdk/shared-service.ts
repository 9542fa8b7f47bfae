import { beforeAll } from 'vitest';
import { startMessagesApi } from '../fixtures/messages-api.ts';
import { realClaude } from '../fixtures/run-agent.ts';
import { asRecord, type ServiceProcess, startServiceProcess, token } from '../helpers/service-process.ts';
import { type Caller, type ClientProgram, startProgram } from './client-programs.ts';

type Environment = Readonly<Record<string, string>>;
type Ends = (() => Promise<void>)[];

/** One service for all tests of a file: a client is tested here, and a client does not start services. */
export interface SharedService {
  /** Only in a test. */
  get(): ServiceProcess;
  /** The base URL and the token, as a client of OpenAI wants them. */
  settings(): { readonly baseURL: string; readonly apiKey: string };
}

/** With a fake agent, which the prompt steers. Call once, at the top of a file. */
export function shareFakeService(env: Environment = {}): SharedService {
  return share(async (ends) => await startServiceProcess({ env, atEnd: (end) => ends.push(end) }));
}

/** With the real CLI; what its model answers is in the prompt. Call once, at the top of a file. */
export function shareRealService(): SharedService {
  return share(async (ends) => {
    const api = await startMessagesApi();
    ends.push(api.close);
    const env = { CLAUDE_BIN: realClaude, ANTHROPIC_BASE_URL: api.url };
    return await startServiceProcess({ env, atEnd: (end) => ends.push(end) });
  });
}

function share(start: (ends: Ends) => Promise<ServiceProcess>): SharedService {
  let service: ServiceProcess | null = null;
  beforeAll(async () => {
    const ends: Ends = [];
    service = await start(ends);
    return async () => {
      for (const end of ends.toReversed()) await end();
    };
  });
  const get = (): ServiceProcess => {
    if (service === null) throw new Error('the service is there only while a test runs');
    return service;
  };
  return { get, settings: () => ({ baseURL: `${get().url}/v1`, apiKey: token }) };
}

/** One program of clients for all tests of a block. Without it, these are to be skipped: it is said here what is missing. */
export function shareProgram(program: ClientProgram): Caller {
  if (!program.isInstalled) console.warn(`skipped: ${program.needs} are not installed`);
  let call: Caller = async () => await Promise.reject(new Error('the program is there only while a test runs'));
  beforeAll(() => {
    if (!program.isInstalled) return undefined;
    const running = startProgram(program);
    call = running.call;
    return running.end;
  });
  return async (settings, question) => await call(settings, question);
}

/** The newest jobs of the service, newest first; at most 200. */
export async function jobsOf(service: ServiceProcess): Promise<readonly Readonly<Record<string, unknown>>[]> {
  const { jobs } = await service.read('/jobs?limit=200');
  if (!Array.isArray(jobs)) throw new Error('no jobs');
  return jobs.map(asRecord);
}

/** How the only job with this prompt ends. */
export async function endOf(service: ServiceProcess, prompt: string): Promise<Readonly<Record<string, unknown>>> {
  const [job, ...more] = (await jobsOf(service)).filter((one) => one['prompt'] === prompt);
  if (job === undefined || more.length > 0) throw new Error('not one job with this prompt');
  return await service.finished(String(job['job_id']));
}

/** What a stream gave, all of it. */
export async function collect<T>(stream: AsyncIterable<T>): Promise<readonly T[]> {
  return await Array.fromAsync(stream);
}

/** What a call was rejected with. */
export async function rejection(call: PromiseLike<unknown>): Promise<unknown> {
  return await call.then(
    (value) => {
      throw new Error(`not rejected: ${JSON.stringify(value)}`);
    },
    (error: unknown) => error,
  );
}
