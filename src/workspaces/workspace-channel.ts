import { type ChildProcess, fork } from 'node:child_process';
import { getCompileCacheDir } from 'node:module';
import { dirname } from 'node:path';
import { WorkspaceError } from '../jobs/errors.ts';
import type { Log } from '../jobs/ports.ts';
import type { WorkspaceFigures, WorkspaceMeter } from './workspace-meter.ts';
import type {
  Failure,
  FromProcess,
  Measure,
  ToProcess,
  WorkspaceCall,
  WorkspaceCalls,
  WorkspaceSettings,
} from './workspace-protocol.ts';

/** The service's end of the channel to one process of workspaces. */
export interface WorkspaceChannel {
  /** Rejects with `WorkspaceError`, with the signal's reason once that aborted, or with `WorkspaceProcessGone`. */
  call<K extends keyof WorkspaceCalls>(
    op: K,
    input: WorkspaceCalls[K]['input'],
    signal?: AbortSignal,
  ): Promise<WorkspaceCalls[K]['output']>;
  /** Resolves when the process is gone, whatever the reason. */
  readonly gone: Promise<void>;
  isGone(): boolean;
  /** From now on this process goes on until the other one is gone. */
  hold(): void;
  /** Lets go of the process, which then ends. */
  disconnect(): void;
}

/** The process holds no more than a few paths and lists: small, so that what it starts costs it little. */
const nodeOptions = ['--max-semi-space-size=2', '--max-old-space-size=512'];

/** Who is told what the process says unasked. */
export interface WorkspaceListener {
  readonly log: Log;
  readonly meter: WorkspaceMeter;
  /** As they were told last. */
  figures: WorkspaceFigures;
}

export function openWorkspaceChannel(settings: WorkspaceSettings, listener: WorkspaceListener): WorkspaceChannel {
  const cache = getCompileCacheDir();
  const child = fork(new URL('workspace-process.ts', import.meta.url), [], {
    // Nothing of the service's own but where compiled code is kept.
    env: cache === undefined ? {} : { NODE_COMPILE_CACHE: dirname(cache) },
    execArgv: nodeOptions,
    serialization: 'advanced',
    // Its own words come through the channel; what Node itself has to say of its end belongs on the standard error.
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
  });
  const waiting = new Map<number, { resolve(value: never): void; reject(error: Error): void }>();
  const gone = Promise.withResolvers<void>();
  let isGone = false;
  let lastSeq = 0;

  const end = (): void => {
    isGone = true;
    for (const { reject } of waiting.values()) reject(new WorkspaceProcessGone());
    waiting.clear();
    gone.resolve();
  };
  child.once('error', end);
  child.once('exit', end);
  child.on('message', (message: FromProcess) => {
    if (message.type !== 'value' && message.type !== 'failure') return hear(message, listener);
    const waiter = waiting.get(message.seq);
    waiting.delete(message.seq);
    if (message.type === 'value') waiter?.resolve(message.value as never);
    else waiter?.reject(errorOf(message.failure));
  });
  // It holds nobody: a service that fails to start ends, and the process with it.
  child.unref();
  child.channel?.unref();
  send(child, { type: 'settings', settings });

  return {
    async call(op, input, signal) {
      signal?.throwIfAborted();
      if (isGone) throw new WorkspaceProcessGone();
      lastSeq += 1;
      const seq = lastSeq;
      const onAbort = (): void => send(child, { type: 'abort', seq });
      signal?.addEventListener('abort', onAbort);
      try {
        const answer = new Promise<never>((resolve, reject) => waiting.set(seq, { resolve, reject }));
        send(child, { type: 'call', seq, call: { op, input } as WorkspaceCall });
        return await answer;
      } catch (error) {
        signal?.throwIfAborted();
        throw error;
      } finally {
        signal?.removeEventListener('abort', onAbort);
      }
    },
    gone: gone.promise,
    isGone: () => isGone,
    hold: () => child.ref(),
    disconnect() {
      if (child.connected) child.disconnect();
    },
  };
}

type Unasked = Exclude<FromProcess, { readonly type: 'value' | 'failure' }>;

function hear(message: Unasked, listener: WorkspaceListener): void {
  switch (message.type) {
    case 'log':
      return listener.log[message.level](message.fields, message.message);
    case 'measured':
      return measure(listener.meter, message.measure);
    case 'figures':
      listener.figures = message.figures;
  }
}

function measure(meter: WorkspaceMeter, told: Measure): void {
  switch (told.of) {
    case 'lockWaited':
      return meter.lockWaited(...told.args);
    case 'prepared':
      return meter.prepared(...told.args);
    case 'removed':
      return meter.removed(...told.args);
  }
}

/** To a process that is gone nothing can be said; its `exit` tells whoever waits. */
function send(child: ChildProcess, message: ToProcess): void {
  if (child.connected) child.send(message, () => undefined);
}

function errorOf({ message, isOfWorkspace }: Failure): Error {
  return isOfWorkspace ? new WorkspaceError(message) : new Error(message);
}

/** What was asked for was perhaps done, perhaps not. */
export class WorkspaceProcessGone extends WorkspaceError {
  constructor(options?: ErrorOptions) {
    super('The process that makes the workspaces has ended', options);
    this.name = 'WorkspaceProcessGone';
  }
}
