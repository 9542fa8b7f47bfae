import type { ChangeSummary } from '../jobs/change-set.ts';
import type { CloneMethod, JobId } from '../jobs/job.ts';
import type { Log } from '../jobs/ports.ts';
import type { BaseHeads } from './base-heads.ts';
import type { WorkspaceOptions } from './workspace-manager.ts';
import type { WorkspaceFigures, WorkspaceMeter } from './workspace-meter.ts';

/** What the service and the process of its workspaces say to each other: structured clones over the channel of a fork. */

/** All that the process needs to know; it has no environment of its own. */
export interface WorkspaceSettings
  extends Omit<WorkspaceOptions, 'resultDir' | 'log' | 'clock' | 'remover' | 'meter' | 'refusal'> {
  /** Holds a directory per job, of the job's name, for what it changed. */
  readonly resultsDir: string;
  /** Where jobs write, by name, and how much has to be free there before clones are made ready; absent: nothing. */
  readonly room?: { readonly directories: Readonly<Record<string, string>>; readonly minFreeBytes: number };
}

export interface NewWorkspace {
  readonly path: string;
  readonly baseCommit: string | null;
}

/** What can be asked for. */
export interface WorkspaceCalls {
  start: { readonly input: null; readonly output: null };
  /** What jobs that nobody knows left is not told. Answers how clones are made from now on. */
  sweep: { readonly input: { readonly unknown: readonly JobId[] }; readonly output: CloneMethod };
  head: { readonly input: { readonly of: keyof BaseHeads }; readonly output: string | null };
  check: { readonly input: null; readonly output: string | null };
  create: { readonly input: { readonly id: JobId; readonly ref: string | null }; readonly output: NewWorkspace };
  adopt: { readonly input: { readonly id: JobId }; readonly output: null };
  changes: {
    readonly input: { readonly id: JobId; readonly pushBranch: string | undefined };
    readonly output: ChangeSummary | null;
  };
  dispose: { readonly input: { readonly id: JobId }; readonly output: null };
  giveBack: { readonly input: { readonly id: JobId }; readonly output: null };
  close: { readonly input: null; readonly output: null };
}

export type WorkspaceCall = {
  [K in keyof WorkspaceCalls]: { readonly op: K; readonly input: WorkspaceCalls[K]['input'] };
}[keyof WorkspaceCalls];

export type ToProcess =
  /** The first message. */
  | { readonly type: 'settings'; readonly settings: WorkspaceSettings }
  | { readonly type: 'call'; readonly seq: number; readonly call: WorkspaceCall }
  /** Whoever made the call wants it no more; it is answered all the same. */
  | { readonly type: 'abort'; readonly seq: number };

export interface Failure {
  readonly message: string;
  /** True for a `WorkspaceError`: its message is for the caller. */
  readonly isOfWorkspace: boolean;
}

/** One call of a `WorkspaceMeter`. */
export type Measure = {
  [K in keyof WorkspaceMeter]: { readonly of: K; readonly args: Parameters<WorkspaceMeter[K]> };
}[keyof WorkspaceMeter];

export type FromProcess =
  | { readonly type: 'value'; readonly seq: number; readonly value: WorkspaceCalls[keyof WorkspaceCalls]['output'] }
  | { readonly type: 'failure'; readonly seq: number; readonly failure: Failure }
  | { readonly type: 'measured'; readonly measure: Measure }
  /** Said once a second, if they have changed. */
  | { readonly type: 'figures'; readonly figures: WorkspaceFigures }
  | { readonly type: 'log'; readonly level: keyof Log; readonly fields: object; readonly message: string };
