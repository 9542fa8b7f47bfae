import { mkdir } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import type { CloneMethod } from '../jobs/job.ts';
import type { Clock, Log } from '../jobs/ports.ts';
import { copierFile, createTreeCopier, prepareCopying, type TreeCopier } from './tree-copier.ts';

/** Of a job that waits, or of nobody. */
export type Priority = 'now' | 'later';

/** The copiers of clones, as long as copying goes well. */
export interface Copiers {
  /** Finds out what works here. Rejects where the directories cannot be made. */
  begin(): Promise<void>;
  method(): CloneMethod;
  /** Null while nothing is to be copied. */
  get(priority: Priority): TreeCopier | null;
  noteFailure(error: unknown, what: string): void;
  noteSuccess(): void;
  close(): Promise<void>;
}

export interface CopiersOptions {
  /** In which trees are made and removed; made if absent. Copies go into the first. */
  readonly directories: readonly string[];
  /** The program that copies; the one beside the service by default. */
  readonly copier?: string | undefined;
  readonly log: Log;
  readonly clock: Clock;
}

/** Failures one after the other. By then it is no accident, and each costs what it should save. */
const maxFailures = 3;
/** A full disk may have been the reason. */
const tryAgainMs = 600_000;
/** More threads than this do not speed up a copy: the directory locks of the file system take over. */
const maxThreads = 8;

export function createCopiers(options: CopiersOptions): Copiers {
  let open: OpenCopiers | null = null;
  const { clock, log } = options;
  let failures = 0;
  let failedAt = 0;
  let closed = false;
  const isTrusted = () => failures < maxFailures || clock.now() - failedAt >= tryAgainMs;
  const get = () => (closed || !isTrusted() ? null : open);
  return {
    async begin() {
      open ??= await openCopiers(options);
    },
    method: () => get()?.method ?? 'git',
    get: (priority) => get()?.[priority] ?? null,
    noteFailure(error, what) {
      failures += 1;
      failedAt = clock.now();
      log.warn({ err: error, failures }, failures < maxFailures ? what : `${what}; for a while git makes all clones`);
    },
    noteSuccess() {
      failures = 0;
    },
    async close() {
      closed = true;
      await Promise.all([open?.now.close(), open?.later.close()]);
    },
  };
}

interface OpenCopiers extends Readonly<Record<Priority, TreeCopier>> {
  readonly method: CloneMethod;
}

/** Null where git has to make each clone. */
async function openCopiers({ directories, log, copier: file = copierFile }: CopiersOptions) {
  for (const one of directories) await mkdir(one, { recursive: true, mode: 0o700 });
  const { method, spread, weakness } = await prepareCopying(directories, file);
  if (weakness !== null) log.warn({ reason: weakness }, 'each clone is made by git');
  else log.info({ method, spread }, 'clones are copied from one that is frozen');
  if (method === 'git') return null;
  const common = { file, reflink: method === 'reflink', threads: Math.min(availableParallelism(), maxThreads) };
  return {
    method,
    now: createTreeCopier({ ...common, lowPriority: false }),
    later: createTreeCopier({ ...common, lowPriority: true }),
  };
}
