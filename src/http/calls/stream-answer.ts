import type { FinishedJob, JobRecord } from '../../jobs/job.ts';
import { answerText } from '../openai/answers.ts';
import type { OpenAiError } from '../openai/errors.ts';
import { setProcessingTime } from '../openai/processing-time.ts';
import { runError, unfollowedError } from '../openai/run-error.ts';
import { openSse, type SseEvent, type SseWriter } from '../sse.ts';
import type { Call } from './call.ts';
import { longestSilenceMs } from './patience.ts';

/** How a silent stream is kept alive, in milliseconds. */
export interface StreamTiming {
  /** Between comments: some clients and proxies cut after 20 s. Less for a client that says it waits for less. */
  readonly commentMs: number;
  /** After so long without an event one without content is sent: comments do not reset the timers of all clients. */
  readonly emptyChunkMs: number;
}

const defaultTiming: StreamTiming = { commentMs: 10_000, emptyChunkMs: 60_000 };

/** How one protocol tells of a run, event by event. Each member says what to send, which may be nothing. */
export interface StreamProtocol {
  /** The call is admitted. */
  begin(): readonly SseEvent[];
  /** Its run has begun; not called for one that ended before. */
  running(): readonly SseEvent[];
  /** A piece of the answer. */
  text(piece: string): readonly SseEvent[];
  /** Nothing was sent for long. */
  idle(): readonly SseEvent[];
  /** The whole answer is out. */
  end(job: FinishedJob): readonly SseEvent[];
  /** There is no whole answer; `job` is null where it could not be followed to its end. */
  failed(error: OpenAiError, job: FinishedJob | null): readonly SseEvent[];
}

/**
 * Streams the answer of an admitted call: headers at once, text as it comes, then how it ended. A failure is told in events of
 * its own: a stream that just ends looks like success. Never rejects.
 */
export async function streamAnswer(
  call: Call,
  timing: StreamTiming | undefined,
  protocol: StreamProtocol,
): Promise<void> {
  const { runs, models, log, reply, signal, job } = call;
  setProcessingTime(reply);
  models.tell(reply, job.spec.model ?? '');
  const sse = openSse(reply, signal);
  const silence = fillSilence(call, sse, timing ?? defaultTiming, protocol);
  const send = async (events: readonly SseEvent[]): Promise<void> => {
    for (const event of events) {
      silence.broken();
      await sse.send(event);
    }
  };
  try {
    const { ended, sentLength } = await runs.attend(job, signal, async () => {
      await send(protocol.begin());
      return await relay(call, protocol, send);
    });
    silence.stop();
    models.note(ended);
    await sendEnd(send, protocol, ended, sentLength);
  } catch (error) {
    if (!signal.aborted) {
      log.error({ err: error, job_id: job.id }, 'the stream of a call broke');
      // Nothing is waited for: if this cannot be sent either, the connection is going.
      for (const event of protocol.failed(unfollowedError(), null)) void sse.send(event).catch(() => undefined);
    }
  } finally {
    silence.stop();
    sse.end();
  }
}

type Send = (events: readonly SseEvent[]) => Promise<void>;

interface Relayed {
  readonly ended: FinishedJob;
  /** How much of the answer's text is out, in characters. */
  readonly sentLength: number;
}

/** Passes text on at the pace at which the caller takes it: the next event is asked for when the last one has gone out. */
async function relay({ jobs, signal, job }: Call, protocol: StreamProtocol, send: Send): Promise<Relayed> {
  let sentLength = 0;
  for await (const event of jobs.follow(job.id, signal)) {
    if (event.type === 'end') return { ended: event.job, sentLength };
    if (event.type === 'status') {
      if (event.job.status === 'running') await send(protocol.running());
      continue;
    }
    if (event.event.type !== 'text' || event.event.text === '') continue;
    sentLength += event.event.text.length;
    await send(protocol.text(event.event.text));
  }
  signal.throwIfAborted();
  throw new Error('the events of a job ended before the job did');
}

async function sendEnd(send: Send, protocol: StreamProtocol, ended: FinishedJob, sentLength: number): Promise<void> {
  const error = runError(ended);
  if (error !== null) return await send(protocol.failed(error, ended));
  const { report } = ended.outcome;
  // The result alone is not what was streamed: it stands in only where no text was.
  const rest = report.text === null && sentLength > 0 ? '' : answerText(report).slice(sentLength);
  if (rest !== '') await send(protocol.text(rest));
  await send(protocol.end(ended));
}

interface Silence {
  /** An event goes out: silence begins anew. */
  broken(): void;
  stop(): void;
}

/** Sends comments, and more rarely an event without content, while nothing else is sent. */
function fillSilence(
  { jobs, log, job, reply }: Call,
  sse: SseWriter,
  timing: StreamTiming,
  protocol: StreamProtocol,
): Silence {
  const { commentMs, emptyChunkMs } = timing;
  let stopped = false;
  const comment = async (): Promise<void> => {
    const now: JobRecord = await jobs.get(job.id);
    if (!stopped) sse.comment(now.status === 'queued' ? `queued ${now.queuePosition ?? 1}` : 'running');
  };
  const failed = (error: unknown): void => log.debug({ err: error, job_id: job.id }, 'a stream was left silent');
  const comments = setInterval(
    () => void comment().catch(failed),
    Math.min(commentMs, longestSilenceMs(reply.request)),
  );
  const events = setInterval(() => {
    if (sse.isFull()) return;
    for (const event of protocol.idle()) void sse.send(event).catch(failed);
  }, emptyChunkMs);
  return {
    broken() {
      comments.refresh();
      events.refresh();
    },
    stop() {
      stopped = true;
      clearInterval(comments);
      clearInterval(events);
    },
  };
}
