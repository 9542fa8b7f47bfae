import { closeSync, fstatSync, readSync } from 'node:fs';
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { JobRecord } from '../jobs/job.ts';
import type { LogSource, RawLog, RunEvent, RunLog, RunLogEntry } from '../jobs/run-log.ts';
import { createLineFile, type FileLine, type LineFile } from '../process/line-file.ts';
import { openOwnFile } from '../process/own-file.ts';
import { maxLineBytes } from './agent-result.ts';
import type { AgentProvider, EventFormat } from './provider.ts';
import { runName, runPaths } from './run-directory.ts';
import type { Recording, RunOrder, RunRecorder } from './run-recorder.ts';

/** What becomes events of one run: bounds the work of a reader. Part of the numbering, so never lowered for kept jobs. */
export const maxEvents = 250_000;
const maxEventBytes = 256 * 1024 * 1024;
/** One read per turn of the event loop. */
const chunkBytes = 256 * 1024;

/** Lines without a known format are events without parts. */
const rawFormat: EventFormat = {
  isDelta: () => false,
  delta: () => null,
  read: () => ({ parts: [], parent: null }),
};

export interface RunLogDeps {
  readonly runsDir: string;
  readonly recorder: RunRecorder;
  readonly providers: Readonly<Record<string, AgentProvider>>;
}

/** Reads runs from their log files. Nothing is written for events: their numbers follow from the lines and their order. */
export function createRunLog({ runsDir, recorder, providers }: RunLogDeps): RunLog {
  const formatOf = ({ spec: { provider } }: JobRecord): EventFormat =>
    (Object.hasOwn(providers, provider) ? providers[provider]?.events : undefined) ?? rawFormat;

  return {
    async *read(job, skip, signal, attempt = job.attempt) {
      const name = runName(job.id, attempt);
      const { stdout, stderr } = runPaths(runsDir, name);
      const recording = recorder.current(name);
      const order = recording?.order ?? recorder.sealed(name);
      using held = new DisposableStack();
      const files = held.use(openFiles(stdout, stderr));
      held.use(recording?.attend());
      const counter = createCounter(formatOf(job), { skip, liveFrom: order.end === null ? order.stdoutFixed : null });
      for await (const { source, line, offset } of readInOrder(order, recording, files, signal)) {
        const entry = source === 'stdout' ? counter.stdout(line, offset) : counter.stderr(line);
        if (entry !== null) yield entry;
        if (counter.isFull()) {
          await ended(order, recording, signal);
          break;
        }
      }
      return counter.kept();
    },
    async open({ id, attempt }, source) {
      const name = runName(id, attempt);
      return openRawLog(runPaths(runsDir, name)[source], name, recorder);
    },
  };
}

interface Files extends Disposable {
  readonly stdout: () => LineFile | null;
  readonly stderr: () => LineFile | null;
}

/** Opened when first needed: a run that has only begun may have none yet. */
function openFiles(stdoutPath: string, stderrPath: string): Files {
  const fds: number[] = [];
  const lazily = (path: string): (() => LineFile | null) => {
    let file: LineFile | null = null;
    return () => {
      const fd = file === null ? openOwnFile(path) : null;
      if (fd !== null) {
        fds.push(fd);
        file = createLineFile(fd, maxLineBytes);
      }
      return file;
    };
  };
  return {
    stdout: lazily(stdoutPath),
    stderr: lazily(stderrPath),
    [Symbol.dispose]() {
      for (const fd of fds) closeSync(fd);
    },
  };
}

interface OrderedLine {
  readonly source: LogSource;
  readonly line: FileLine;
  /** The lines of standard output end before this byte of the file. */
  readonly offset: number;
}

async function* readInOrder(
  order: RunOrder,
  recording: Recording | undefined,
  files: Files,
  signal: AbortSignal,
): AsyncGenerator<OrderedLine, void> {
  let offset = 0;
  async function* upTo(source: LogSource, position: number): AsyncGenerator<OrderedLine, void> {
    if (position === 0) return;
    for await (const line of files[source]()?.lines(position, signal) ?? []) {
      if (source === 'stdout') offset += line.bytes + 1;
      yield { source, line, offset };
    }
  }
  for (let next = 0; !signal.aborted; ) {
    const cut = order.cuts[next];
    if (cut !== undefined) {
      next += 1;
      yield* upTo('stdout', cut.stdout);
      yield* upTo('stderr', cut.stderr);
      continue;
    }
    const { end, stdoutFixed } = order;
    yield* upTo('stdout', end?.stdout ?? stdoutFixed);
    if (end !== null) {
      yield* rest('stdout', files, offset);
      yield* upTo('stderr', end.stderr);
      yield* rest('stderr', files, offset);
      return;
    }
    // Looked at again only if nothing was decided while the lines were being taken.
    if (order.end === null && order.cuts[next] === undefined && order.stdoutFixed === stdoutFixed) {
      await recording?.changed(signal);
    }
  }
}

function* rest(source: LogSource, files: Files, offset: number): Generator<OrderedLine, void> {
  const line = files[source]()?.rest() ?? null;
  if (line !== null) yield { source, line, offset };
}

/** Who follows a run past its last event still waits for its end. */
async function ended(order: RunOrder, recording: Recording | undefined, signal: AbortSignal): Promise<void> {
  while (order.end === null && !signal.aborted) await recording?.changed(signal);
}

/** Gives lines their places. What is skipped is counted and not parsed. */
function createCounter(format: EventFormat, from: { readonly skip: number; readonly liveFrom: number | null }) {
  let place = 0;
  let bytes = 0;
  let full = false;

  const keep = (length: number, event: () => RunEvent): RunLogEntry | null => {
    place += 1;
    bytes += length;
    const reason = place > maxEvents ? 'events' : bytes > maxEventBytes ? 'bytes' : null;
    full = reason !== null;
    if (place <= from.skip) return null;
    return { place, event: reason === null ? event() : { type: 'truncated', reason } };
  };

  return {
    isFull: () => full,
    kept: () => place,
    stdout({ line, bytes: length }: FileLine, offset: number): RunLogEntry | null {
      if (line === null) return keep(0, () => ({ type: 'agent', ...oversized(length), raw: null }));
      if (line.length === 0) return null;
      if (!format.isDelta(line)) {
        return keep(length, () => ({ type: 'agent', ...format.read(line), raw: line.toString('utf8') }));
      }
      if (from.liveFrom === null || offset <= from.liveFrom) return null;
      const delta = format.delta(line);
      return delta === null || delta === '' ? null : { place: null, delta };
    },
    stderr({ line, bytes: length }: FileLine): RunLogEntry | null {
      return keep(length, () => ({
        type: 'stderr',
        text: line === null ? `[a line of ${length} bytes: see the log]` : line.toString('utf8'),
      }));
    },
  };
}

function oversized(bytes: number) {
  return { parts: [{ type: 'oversized' as const, bytes }], parent: null };
}

function openRawLog(path: string, name: string, recorder: RunRecorder): RawLog {
  let fd = openOwnFile(path);
  const size = fd === null ? 0 : fstatSync(fd).size;
  return {
    size,
    async *read(start, end, signal) {
      const recording = end === null ? recorder.current(name) : undefined;
      const buffer = Buffer.allocUnsafeSlow(chunkBytes);
      using held = new DisposableStack();
      held.use(recording?.attend());
      for (let at = start; !signal.aborted && (end === null || at < end); ) {
        // Asked before the read: what was written before the end is then certainly seen.
        const change = recording !== undefined && recording.order.end === null ? recording.changed(signal) : null;
        fd ??= openOwnFile(path);
        const wanted = Math.min(chunkBytes, (end ?? Number.POSITIVE_INFINITY) - at);
        const count = fd === null ? 0 : readSync(fd, buffer, 0, wanted, at);
        at += count;
        // A copy: who takes it may hold it longer than the buffer lasts.
        if (count > 0) yield Buffer.from(buffer.subarray(0, count));
        else if (change === null) return;
        await (count === 0 && change !== null ? change : nextTurn());
      }
    },
    async [Symbol.asyncDispose]() {
      if (fd !== null) closeSync(fd);
    },
  };
}
