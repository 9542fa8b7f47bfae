import { join } from 'node:path';
import { WorkspaceError } from '../jobs/errors.ts';
import type { JobId } from '../jobs/job.ts';
import type { Log, Workspace } from '../jobs/ports.ts';
import { createRemover } from '../process/remover.ts';
import { createFreeSpaceCheck } from './free-space.ts';
import { createWorkspaceManager, type GitWorkspaces } from './workspace-manager.ts';
import type { WorkspaceFigures, WorkspaceMeter } from './workspace-meter.ts';
import type { FromProcess, ToProcess, WorkspaceCall, WorkspaceSettings } from './workspace-protocol.ts';

/**
 * The program that makes, reads and removes workspaces for the service. To start a process stops the one that starts it, and
 * the more memory that has the longer: here it stops nobody who serves requests.
 */

/** What nobody needs to know any sooner. */
const figuresMs = 1_000;
/** What is under way when the service is gone gets this long; then nothing of it is worth waiting for. */
const lastMs = 10_000;

main();

function main(): void {
  const calls = new Map<number, AbortController>();
  let manager: GitWorkspaces | null = null;
  let serve: ((call: WorkspaceCall, signal: AbortSignal) => Promise<unknown>) | null = null;
  // The service ends it, by closing the channel: signals to the group of both mean the service first.
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => undefined);
  process.on('disconnect', () => {
    for (const call of calls.values()) call.abort();
    setTimeout(() => process.kill(process.pid, 'SIGKILL'), lastMs).unref();
    void manager?.close();
  });
  process.on('message', (message: ToProcess) => {
    if (message.type === 'settings') {
      manager = createManager(message.settings);
      serve = createServing(manager);
    } else if (message.type === 'abort') calls.get(message.seq)?.abort();
    else if (serve !== null) void answer(message.seq, message.call, serve);
  });

  async function answer(seq: number, call: WorkspaceCall, to: NonNullable<typeof serve>): Promise<void> {
    const abort = new AbortController();
    calls.set(seq, abort);
    try {
      const value = await to(call, abort.signal);
      say({ type: 'value', seq, value: value as never });
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error);
      say({ type: 'failure', seq, failure: { message, isOfWorkspace: error instanceof WorkspaceError } });
      if (!abort.signal.aborted) log.warn({ err: error, call: call.op }, 'workspaces: a call failed');
    } finally {
      calls.delete(seq);
    }
  }
}

/** Nobody hears it once the service is gone. */
function say(message: FromProcess): void {
  if (process.connected) process.send?.(message, undefined, undefined, () => undefined);
}

const log: Log = {
  debug: (fields, message) => tell('debug', fields, message),
  info: (fields, message) => tell('info', fields, message),
  warn: (fields, message) => tell('warn', fields, message),
  error: (fields, message) => tell('error', fields, message),
};

function tell(level: keyof Log, fields: object, message: string): void {
  try {
    say({ type: 'log', level, fields, message });
  } catch {
    say({ type: 'log', level, fields: {}, message }); // What cannot be sent is not worth a lost line.
  }
}

/** Only for ages: nobody can set it. */
const clock = { now: () => performance.now() };

const meter: WorkspaceMeter = {
  lockWaited: (...args) => say({ type: 'measured', measure: { of: 'lockWaited', args } }),
  prepared: (...args) => say({ type: 'measured', measure: { of: 'prepared', args } }),
  removed: (...args) => say({ type: 'measured', measure: { of: 'removed', args } }),
};

function createManager({ resultsDir, room, ...settings }: WorkspaceSettings): GitWorkspaces {
  const remover = createRemover({ log, onRemoved: meter.removed });
  const manager = createWorkspaceManager({
    ...settings,
    resultDir: (id) => join(resultsDir, id),
    ...(room !== undefined && { refusal: createFreeSpaceCheck({ ...room, clock, log }) }),
    ...{ remover, meter, log, clock },
    busyDirectories: [resultsDir],
  });
  const read = (): WorkspaceFigures => ({
    poolReady: manager.ready(),
    removalsPending: remover.pending(),
    removalsQuarantined: remover.quarantined(),
  });
  sayFigures(read);
  return manager;
}

function sayFigures(read: () => WorkspaceFigures): void {
  let last = '';
  setInterval(() => {
    const figures = read();
    if (JSON.stringify(figures) === last) return;
    last = JSON.stringify(figures);
    say({ type: 'figures', figures });
  }, figuresMs).unref();
}

function createServing(manager: GitWorkspaces) {
  const living = new Map<JobId, Workspace>();
  return async (call: WorkspaceCall, signal: AbortSignal): Promise<unknown> => {
    switch (call.op) {
      case 'start':
        return await nothing(manager.start(signal));
      case 'sweep':
        await manager.sweep(async (id) => !call.input.unknown.includes(id));
        return manager.method();
      case 'head':
        return await manager.heads[call.input.of](signal);
      case 'check':
        return await manager.check();
      case 'create': {
        const { id, ref } = call.input;
        const workspace = await manager.create(id, signal, { ref });
        living.set(id, workspace);
        return { path: workspace.path, baseCommit: workspace.baseCommit };
      }
      case 'adopt': {
        const workspace = manager.adopt?.(call.input.id);
        if (workspace !== undefined) living.set(call.input.id, workspace);
        return null;
      }
      case 'changes':
        return (await living.get(call.input.id)?.changes(call.input.pushBranch)) ?? null;
      case 'dispose':
      case 'giveBack': {
        const workspace = living.get(call.input.id);
        living.delete(call.input.id);
        return await nothing(call.op === 'giveBack' ? workspace?.giveBack() : workspace?.[Symbol.asyncDispose]());
      }
      case 'close':
        return await nothing(manager.close());
    }
  };
}

async function nothing(work: PromiseLike<void> | undefined): Promise<null> {
  await work;
  return null;
}
