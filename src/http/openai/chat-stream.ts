import type { FastifyReply } from 'fastify';
import { type FinishedJob, type JobRecord } from '../../jobs/job.ts';
import type { JobService } from '../../jobs/job-service.ts';
import type { Log } from '../../jobs/ports.ts';
import { openSse, type SseWriter } from '../sse.ts';
import { answerText, type ChatHead, type Chunk, finishReason } from './answers.ts';
import { setProcessingTime } from './processing-time.ts';
import { runError, unfollowedError } from './run-error.ts';
import { usageOf } from './usage.ts';
import { whileAttended } from './while-attended.ts';

/** How a silent stream is kept alive, in milliseconds. */
export interface StreamTiming {
  /** Between comments: some clients and proxies cut after 20 s. */
  readonly commentMs: number;
  /** After so long without a chunk one without content is sent: comments do not reset the timers of all clients. */
  readonly emptyChunkMs: number;
}

const defaultTiming: StreamTiming = { commentMs: 10_000, emptyChunkMs: 60_000 };

export interface StreamDeps {
  readonly jobs: JobService;
  readonly log: Log;
  readonly reply: FastifyReply;
  /** Aborts when the caller hangs up. */
  readonly signal: AbortSignal;
  readonly timing: StreamTiming | undefined;
}

export type StreamedChat = ChatHead & { readonly includeUsage: boolean };

/**
 * Streams the answer of an admitted job: headers at once, text as it comes, then how it ended. A failure is told in an event of
 * its own, without `[DONE]`: a stream that just ends looks like success. Never rejects.
 */
export async function streamChat(deps: StreamDeps, chat: StreamedChat, job: JobRecord): Promise<void> {
  const { jobs, log, reply, signal } = deps;
  setProcessingTime(reply);
  const sse = openSse(reply, signal);
  const silence = fillSilence(deps, sse, chat, job);
  const send = (chunk: Chunk): Promise<void> => {
    silence.broken();
    return sse.send({ data: JSON.stringify(chunk) });
  };
  try {
    const { ended, sentLength } = await whileAttended({ jobs, job, signal, log }, async () => {
      await send(deltaChunk(chat, { role: 'assistant', content: '', refusal: null }));
      return await relayText(deps, chat, job, send);
    });
    silence.stop();
    await sendEnd(sse, chat, ended, sentLength);
  } catch (error) {
    if (!signal.aborted) {
      log.error({ err: error, job_id: job.id }, 'a chat stream broke');
      // Nothing is waited for: if this cannot be sent either, the connection is going.
      void sse.send({ data: JSON.stringify(unfollowedError().body) }).catch(() => undefined);
    }
  } finally {
    silence.stop();
    sse.end();
  }
}

interface Relayed {
  readonly ended: FinishedJob;
  /** How much of the answer's text is out, in characters. */
  readonly sentLength: number;
}

/** Passes text on at the pace at which the caller takes it: the next event is asked for when the last one has gone out. */
async function relayText(
  { jobs, signal }: StreamDeps,
  chat: StreamedChat,
  job: JobRecord,
  send: (chunk: Chunk) => Promise<void>,
): Promise<Relayed> {
  let sentLength = 0;
  for await (const event of jobs.follow(job.id, signal)) {
    if (event.type === 'end') return { ended: event.job, sentLength };
    if (event.type !== 'agent' || event.event.type !== 'text' || event.event.text === '') continue;
    sentLength += event.event.text.length;
    await send(deltaChunk(chat, { content: event.event.text }));
  }
  signal.throwIfAborted();
  throw new Error('the events of a job ended before the job did');
}

async function sendEnd(sse: SseWriter, chat: StreamedChat, ended: FinishedJob, sentLength: number): Promise<void> {
  const error = runError(ended);
  if (error !== null) return await sse.send({ data: JSON.stringify(error.body) });
  const { report } = ended.outcome;
  // The result alone is not what was streamed: it stands in only where no text was.
  const rest = report.text === null && sentLength > 0 ? '' : answerText(report).slice(sentLength);
  const chunks = [
    ...(rest === '' ? [] : [deltaChunk(chat, { content: rest })]),
    deltaChunk(chat, {}, finishReason(ended)),
    ...(chat.includeUsage ? [{ ...chunkOf(chat, []), usage: usageOf(report.usage) }] : []),
  ];
  for (const chunk of chunks) await sse.send({ data: JSON.stringify(chunk) });
  await sse.send({ data: '[DONE]' });
}

type Choice = Chunk['choices'][number];

function deltaChunk(chat: StreamedChat, delta: Choice['delta'], finish: Choice['finish_reason'] = null): Chunk {
  return chunkOf(chat, [{ index: 0, delta, logprobs: null, finish_reason: finish }]);
}

function chunkOf({ id, created, model, includeUsage }: StreamedChat, choices: Chunk['choices']): Chunk {
  return {
    id,
    object: 'chat.completion.chunk',
    created,
    model,
    service_tier: 'default',
    choices,
    ...(includeUsage && { usage: null }),
  };
}

interface Silence {
  /** A chunk goes out: silence begins anew. */
  broken(): void;
  stop(): void;
}

/** Sends comments, and more rarely an empty chunk, while nothing else is sent. */
function fillSilence({ jobs, log, timing }: StreamDeps, sse: SseWriter, chat: StreamedChat, job: JobRecord): Silence {
  const { commentMs, emptyChunkMs } = timing ?? defaultTiming;
  let stopped = false;
  const comment = async (): Promise<void> => {
    const now = await jobs.get(job.id);
    if (!stopped) sse.comment(now.status === 'queued' ? `queued ${now.queuePosition ?? 1}` : 'running');
  };
  const failed = (error: unknown): void => log.debug({ err: error, job_id: job.id }, 'a chat stream was left silent');
  const comments = setInterval(() => void comment().catch(failed), commentMs);
  const chunks = setInterval(() => {
    if (!sse.isFull()) void sse.send({ data: JSON.stringify(deltaChunk(chat, {})) }).catch(failed);
  }, emptyChunkMs);
  return {
    broken() {
      comments.refresh();
      chunks.refresh();
    },
    stop() {
      stopped = true;
      clearInterval(comments);
      clearInterval(chunks);
    },
  };
}
