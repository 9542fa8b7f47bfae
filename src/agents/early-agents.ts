import { randomUUID } from 'node:crypto';
import { stat } from 'node:fs/promises';
import type { JobId, JobSpec } from '../jobs/job.ts';
import type { AgentRun, AgentRunner, Log } from '../jobs/ports.ts';
import type { Command } from '../process/command.ts';
import { type Containment, supervisionLost } from '../process/containment.ts';
import { rssOf } from '../process/memory.ts';
import type { ProcessExit } from '../process/run-process.ts';
import { startWaiting, type WaitingOptions, type WaitingRun } from '../process/waiting-run.ts';
import type { AgentProvider, EarlyStart } from './provider.ts';
import { type RunDirectories, type RunPaths, runPaths } from './run-directory.ts';

/** An agent that was started before its job is there. */
export interface EarlyAgent {
  /** False once it has ended, or is not what would be started now: another CLI stands in its place. */
  isCurrent(): Promise<boolean>;
  /** Of all its processes. */
  rssBytes(): Promise<number>;
  /** Resolves when it has ended, also because a run that took it is over. */
  readonly ended: Promise<void>;
  /** Ends it and takes its files away, unless a run took it. Never rejects. */
  discard(): Promise<void>;
}

export interface EarlyRunner extends AgentRunner {
  /**
   * Starts the agent that a later `run` of the same id and workspace uses, if `canUse` says so. It ends with this process at the
   * latest. Null where agents cannot be started so; rejects with what kept this one from it.
   */
  startEarly(run: AgentRun): Promise<EarlyAgent | null>;
  /** Whether a run of the one spec can use an agent that was started for the other. */
  canUse(spec: JobSpec, startedFor: JobSpec): boolean;
}

export interface EarlyAgentsDeps {
  readonly providers: Readonly<Record<string, AgentProvider>>;
  readonly directories: RunDirectories;
  readonly startIn: Containment['startWaiting'];
  /** Null where the CLI is missing. */
  readonly commandOf: (run: AgentRun, paths: RunPaths, args: readonly string[]) => Promise<Command | null>;
  readonly optionsOf: (run: AgentRun, paths: RunPaths, command: Command) => WaitingOptions;
  readonly log: Log;
}

/** An agent that a run has taken. */
export interface TakenAgent {
  /**
   * Lets it do its work. If it was gone and did nothing at all, it can be started again, in the same directory.
   */
  run(signal: AbortSignal): Promise<{ readonly exit: ProcessExit; readonly wasGone: boolean }>;
}

export interface EarlyAgents extends Pick<EarlyRunner, 'startEarly' | 'canUse'> {
  /** The agent that waits for this run, if it is of use to it; if not, it is gone when this resolves. */
  take(run: AgentRun): Promise<TakenAgent | null>;
}

interface Waiting {
  readonly startedFor: JobSpec;
  readonly program: WaitingRun;
  readonly early: EarlyStart;
  readonly paths: RunPaths;
}

export function createEarlyAgents(deps: EarlyAgentsDeps): EarlyAgents {
  const { providers, directories, log } = deps;
  const waiting = new Map<JobId, Waiting>();
  const earlyOf = ({ provider }: JobSpec): EarlyStart | undefined =>
    Object.hasOwn(providers, provider) ? providers[provider]?.early : undefined;

  function canUse(spec: JobSpec, startedFor: JobSpec): boolean {
    const early = earlyOf(startedFor);
    return early !== undefined && settled(spec, early) === settled(startedFor, early);
  }

  async function discard(id: JobId): Promise<void> {
    const agent = waiting.get(id);
    if (agent === undefined) return;
    waiting.delete(id);
    await agent.program.discard();
    await directories.remove(id);
  }

  return {
    canUse,
    async startEarly(run) {
      const { id, spec } = run;
      const [early, startIn] = [earlyOf(spec), deps.startIn];
      if (early === undefined || startIn === undefined) return null;
      try {
        const started = await startProgram({ ...deps, startIn }, early, run);
        waiting.set(id, started);
        void started.program.ended.then(() => discard(id));
        return {
          isCurrent: async () => waiting.has(id) && (await started.isCurrent()),
          rssBytes: async () => await rssOfRun(started.program),
          ended: started.program.ended,
          discard: () => discard(id),
        };
      } catch (error) {
        await directories.remove(id);
        throw error;
      }
    },
    async take({ id, spec }) {
      const agent = waiting.get(id);
      if (agent === undefined) return null;
      if (!canUse(spec, agent.startedFor)) {
        await discard(id);
        return null;
      }
      waiting.delete(id);
      return { run: (signal) => runTaken(agent, { id, spec, directories, log }, signal) };
    },
  };
}

interface StartDeps extends EarlyAgentsDeps {
  readonly startIn: NonNullable<EarlyAgentsDeps['startIn']>;
}

async function startProgram(
  { directories, commandOf, optionsOf, startIn }: StartDeps,
  early: EarlyStart,
  run: AgentRun,
): Promise<Waiting & Pick<EarlyAgent, 'isCurrent'>> {
  const { id, spec } = run;
  const paths = await directories.create(id, { prompt: '', systemPrompt: null, history: null });
  const args = early.args({ id, spec, paths, sessionId: randomUUID() });
  const command = await commandOf(run, paths, args);
  if (command === null) throw new Error('the agent CLI is missing');
  const identity = await identityOf(command.file);
  const program = await startWaiting(startIn, optionsOf(run, paths, command));
  return {
    ...{ startedFor: spec, program, early, paths },
    async isCurrent() {
      const now = await commandOf(run, paths, args);
      return now?.file === command.file && (await identityOf(now.file).catch(() => null)) === identity;
    },
  };
}

async function rssOfRun(program: WaitingRun): Promise<number> {
  const pid = program.pid();
  return pid === null ? 0 : await rssOf(pid);
}

interface Taking extends Pick<EarlyAgentsDeps, 'directories' | 'log'> {
  readonly id: JobId;
  readonly spec: JobSpec;
}

async function runTaken(
  { program, early, paths }: Waiting,
  { id, spec, directories, log }: Taking,
  signal: AbortSignal,
): ReturnType<TakenAgent['run']> {
  const before = await sizeOf(paths.stdout);
  log.debug({ job_id: id, pid: program.pid() }, 'agent started ahead of its job');
  const running = program.begin(early.stdin(spec), signal);
  // For whoever looks at the directory: it has been told already.
  await directories
    .fill(id, { prompt: spec.prompt, systemPrompt: spec.systemPrompt, history: null })
    .catch((error: unknown) => {
      log.warn({ job_id: id, err: error }, 'a prompt could not be written down');
    });
  const exit = await running;
  const endedByItself = exit.endedBy === null || exit.endedBy === supervisionLost;
  // The CLI prints before it asks the model for the first time: where nothing was printed, nothing was done.
  if (signal.aborted || !endedByItself || (await sizeOf(paths.stdout)) > before) return { exit, wasGone: false };
  log.warn({ job_id: id, exit }, 'an agent that was started ahead of its job was gone; another is started');
  return { exit, wasGone: true };
}

/**
 * All that a CLI was told at its start, as text. Only chats: their runs end with the service, and so does an agent that waits,
 * while runs of other jobs may be meant to outlive it.
 */
function settled(spec: JobSpec, early: EarlyStart): string {
  const { kind, provider, timeoutMs, idleTimeoutMs = null } = spec;
  const args = early.args({ id: '', spec, paths: runPaths('/', ''), sessionId: '' });
  return JSON.stringify([kind === 'chat', provider, timeoutMs, idleTimeoutMs, args]);
}

/** What stands in the place of a file is another one after every way of installing. */
async function identityOf(file: string): Promise<string> {
  const { dev, ino, size, mtimeMs } = await stat(file);
  return [dev, ino, size, mtimeMs].join(' ');
}

async function sizeOf(file: string): Promise<number> {
  return await stat(file).then(
    ({ size }) => size,
    () => 0,
  );
}
