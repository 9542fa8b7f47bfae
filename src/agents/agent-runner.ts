import { randomUUID } from 'node:crypto';
import { existsSync } from 'node:fs';
import { isStructured, type JobId, type JobOutcome, outcomeWithoutAgent } from '../jobs/job.ts';
import type { AgentEvent, AgentRun, Clock, Log } from '../jobs/ports.ts';
import type { Command } from '../process/command.ts';
import type { Containment } from '../process/containment.ts';
import { createRemover, type Remover } from '../process/remover.ts';
import { adoptRun, type ProcessExit, runProcess } from '../process/run-process.ts';
import { killStrays } from '../process/strays.ts';
import { readEvents } from './agent-events.ts';
import { judge } from './agent-outcome.ts';
import { readReport } from './agent-report.ts';
import { createCliCheck, missing } from './cli-check.ts';
import type { DiskMeter } from './disk-meter.ts';
import { createEarlyAgents, type EarlyAgents, type EarlyRunner } from './early-agents.ts';
import { jobMark } from './environment.ts';
import type { AgentProvider } from './provider.ts';
import {
  binOf,
  commandOf,
  environment,
  filesOf,
  inputOf,
  optionsOf,
  providerOf,
  type RunSettings,
} from './run-command.ts';
import { createRunDirectories, type RunDirectories, type RunPaths, runName } from './run-directory.ts';
import type { Recording, RunRecorder } from './run-recorder.ts';
import { type WatchedExit, watched } from './watched-run.ts';

export interface AgentRunnerOptions extends Omit<RunSettings, 'hurry'> {
  /** Holds one directory per run, with its log, until it is forgotten. Made, for the service alone, where it is absent. */
  readonly runsDir: string;
  /** Told of each run, so that its log can be read by others: made for the same directory. */
  readonly recorder: RunRecorder;
  /** How each agent's processes are held together; by its process group where this is absent. */
  readonly containment?: Containment;
  /** Runs of `execute` jobs go on when the service ends, and can be adopted by the next one. */
  readonly survives?: boolean;
  /** How long an agent may stay silent after its result before it is ended. */
  readonly lingerMs?: number;
  /** Ends jobs that take too much disk; nobody looks where this is absent. */
  readonly disk?: DiskMeter;
  /** Removes what runs leave; one of its own where this is absent. */
  readonly remover?: Remover;
  readonly log: Log;
  readonly clock: Clock;
}

/** A run that others can follow. */
interface LiveRun {
  readonly provider: AgentProvider;
  readonly stdoutFile: string;
  readonly structured: boolean;
  /** Set once nothing more comes into the log. */
  ended: boolean;
}

interface Runtime extends AgentRunnerOptions, Pick<RunSettings, 'hurry'> {
  readonly directories: RunDirectories;
}

interface Runner extends Runtime {
  readonly early: EarlyAgents;
}

export function createAgentRunner(options: AgentRunnerOptions): EarlyRunner {
  const hurry = new AbortController();
  const directories = createRunDirectories(options.runsDir, options.remover ?? createRemover(options), options.log);
  const runner = withEarlyAgents({ ...options, hurry: hurry.signal, directories });
  const { log, providers, early } = runner;
  const running = new Map<JobId, LiveRun>();
  const checks = Object.values(providers).map((provider) => cliCheck(runner, provider));

  return {
    async run(run, signal) {
      const provider = providerOf(runner, run.spec);
      if (provider === undefined) return notStarted('No agent CLI of this name is known');
      const name = runName(run.id, run.attempt);
      const stdoutFile = directories.paths(name).stdout;
      const live: LiveRun = { provider, stdoutFile, structured: isStructured(run.spec), ended: false };
      running.set(run.id, live);
      const recording = run.adopted === true ? options.recorder.resume(name) : options.recorder.begin(name);
      try {
        return await runAgent(runner, live, run, recording, signal);
      } catch (error) {
        log.error({ job_id: run.id, err: error }, 'agent could not be run');
        return notStarted('The agent could not be run');
      } finally {
        live.ended = true;
        running.delete(run.id);
        await recording.end();
        await directories.release(name);
      }
    },
    async canAdopt(id, attempt) {
      const name = runName(id, attempt);
      const { adoption } = options.containment ?? {};
      if (adoption === undefined || !(await adoption.isPossible(filesOf(directories.paths(name), id)))) return false;
      directories.hold(name);
      // From now on: a reader who came before the run is taken over would close its log.
      options.recorder.resume(name);
      return true;
    },
    follow(id, signal) {
      // Looked up now and not at the first read, when the run may be over.
      const live = running.get(id);
      if (live === undefined) return nothing();
      const { stdoutFile, provider, structured } = live;
      return readEvents({ stdoutFile, output: provider.output, structured, ended: () => live.ended }, signal);
    },
    replay: (job, signal) => (running.has(job.id) ? nothing() : replay(runner, job, signal)),
    async forget(id) {
      if (!running.has(id)) await directories.remove(id);
    },
    startEarly: early.startEarly,
    canUse: early.canUse,
    hurry: () => hurry.abort(),
    sweep: (known) => sweep(runner, known),
    async check() {
      const reasons = (await Promise.all(checks.map((check) => check()))).filter((reason) => reason !== null);
      return reasons.length === 0 ? null : reasons.join('. ');
    },
  };
}

function withEarlyAgents(runtime: Runtime): Runner {
  const { providers, directories, containment, log } = runtime;
  const early = createEarlyAgents({
    ...{ providers, directories, log, startIn: containment?.startWaiting },
    commandOf: (run, paths, args) => commandOf(runtime, run, paths, args),
    optionsOf: (run, paths, command) => optionsOf(runtime, run, paths, command),
  });
  return { ...runtime, early };
}

function replay(
  runtime: Runtime,
  { id, spec, attempt }: Pick<AgentRun, 'id' | 'spec' | 'attempt'>,
  signal: AbortSignal,
): AsyncIterable<AgentEvent> {
  const provider = providerOf(runtime, spec);
  const stdoutFile = runtime.directories.paths(runName(id, attempt)).stdout;
  if (provider === undefined || !existsSync(stdoutFile)) return nothing();
  return readEvents({ stdoutFile, output: provider.output, structured: isStructured(spec), ended: () => true }, signal);
}

/** First the processes: they would go on writing where it is swept. Old logs are nobody's hurry: no job waits for them. */
async function sweep({ directories, log }: Runtime, known: (id: JobId) => Promise<boolean>): Promise<void> {
  const marks = (await directories.idle()).map((id) => `${jobMark}=${id}`);
  const processes = await killStrays({ session: null, marks });
  if (processes > 0) log.warn({ processes }, 'processes of earlier runs were ended');
  void directories.sweep(known).catch((error: unknown) => {
    log.warn({ err: error }, 'not all that earlier runs left was put away; the next start does it');
  });
}

async function runAgent(
  runner: Runner,
  live: LiveRun,
  run: AgentRun,
  recording: Recording,
  signal: AbortSignal,
): Promise<JobOutcome> {
  const { directories, early, log } = runner;
  const { id, spec } = run;
  const name = runName(id, run.attempt);
  const { provider } = live;
  const paths = directories.paths(name);
  const attended = (work: (ended: AbortSignal) => Promise<ProcessExit>) =>
    watched(runner, run, paths, provider.output, (ends) => work(AbortSignal.any([signal, ...ends])));
  if (run.adopted === true) {
    recording.start();
    return await conclude(live, run, paths, await attended((ended) => adoptProgram(runner, run, paths, ended)));
  }
  const taken = await early.take(run);
  if (taken !== null) {
    recording.start();
    let wasGone = false;
    const exit = await attended(async (ended) => {
      const end = await taken.run(ended);
      wasGone = end.wasGone;
      return end.exit;
    });
    if (!wasGone) return await conclude(live, run, paths, exit);
  }
  const lay = taken === null ? directories.create : directories.fill;
  await lay(name, inputOf(provider, run));
  recording.start();
  const command = await commandOf(runner, run, paths, provider.args({ id, spec, paths, sessionId: randomUUID() }));
  if (command === null) return notStarted(missing(provider));
  const exit = await attended((ended) => runProgram(runner, command, run, paths, ended));
  if (exit.spawnError !== null) log.error({ job_id: id, err: exit.spawnError }, 'agent could not be started');
  return await conclude(live, run, paths, exit);
}

async function conclude(live: LiveRun, { spec }: AgentRun, paths: RunPaths, exit: WatchedExit): Promise<JobOutcome> {
  const { provider } = live;
  live.ended = true;
  if (exit.spawnError !== null) {
    return notStarted(`The ${provider.name} CLI could not be started: ${provider.installHint}`);
  }
  const { report, found } = await readReport(paths, spec, provider.output, exit);
  return { ...judge(exit, found, spec), report: { ...report, diskBytes: exit.diskBytes } };
}

async function runProgram(
  runtime: Runtime,
  command: Command,
  run: AgentRun,
  paths: RunPaths,
  signal: AbortSignal,
): Promise<ProcessExit> {
  const { containment, survives, log } = runtime;
  return await runProcess(
    {
      ...optionsOf(runtime, run, paths, command),
      stdinFile: paths.prompt,
      ...(containment === undefined ? {} : { containment }),
      // The caller of a chat goes with the connection.
      survives: survives === true && run.spec.kind === 'execute',
      onSpawn: (pid) => log.debug({ job_id: run.id, pid }, 'agent started'),
    },
    signal,
  );
}

/** Takes over the agent of a job that an earlier process began. */
async function adoptProgram(
  { containment, hurry, log }: Runtime,
  { id }: AgentRun,
  paths: RunPaths,
  signal: AbortSignal,
): Promise<ProcessExit> {
  const adoption = containment?.adoption;
  if (adoption === undefined) throw new Error('nothing can be adopted at this level of containment');
  log.info({ job_id: id }, 'agent adopted');
  return await adoptRun(adoption, { ...filesOf(paths, id), hurry }, signal);
}

function cliCheck(runtime: Runtime, provider: AgentProvider): () => Promise<string | null> {
  const { directories, log, clock } = runtime;
  const env = (name: string): Command['env'] => environment(runtime, provider, name, directories.paths(name));
  return createCliCheck({ provider, bin: binOf(runtime, provider), env, directories, log, clock });
}

function notStarted(error: string): JobOutcome {
  return outcomeWithoutAgent('error', 'spawn_error', error);
}

async function* nothing(): AsyncGenerator<never, void> {}
