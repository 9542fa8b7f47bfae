import type { FastifyReply } from 'fastify';
import { JobNotFoundError } from '../jobs/errors.ts';
import type { NumberedEvent } from '../jobs/job-events.ts';
import type { JobService } from '../jobs/job-service.ts';
import { time } from './job-view.ts';
import { openSse, type SseEvent } from './sse.ts';

/** Keeps proxies from cutting: most wait 60 s or longer. */
const defaultCommentMs = 15_000;

export interface EventStreamDeps {
  readonly jobs: JobService;
  readonly reply: FastifyReply;
  /** Aborts when the reader hangs up. */
  readonly signal: AbortSignal;
  readonly commentMs: number | undefined;
}

export interface EventStreamWish {
  readonly id: string;
  /** Only events after this one. */
  readonly after: number;
  /** Also pieces of text, live, without a number. */
  readonly deltas: boolean;
}

/**
 * Streams a job's events at the reader's own pace. Throws `JobNotFoundError` before anything is sent. A reader who has had all
 * of a final job's events is answered 204, on which an `EventSource` stops asking.
 */
export async function streamJobEvents(deps: EventStreamDeps, wish: EventStreamWish): Promise<FastifyReply> {
  const { jobs, reply, signal } = deps;
  const job = await jobs.get(wish.id);
  const events = jobs.events(wish.id, wish.after, signal);
  // Of a final job the first event comes without waiting, or there is none; of another one the headers must not wait for it.
  const first = job.outcome === null ? undefined : await events.next();
  if (first?.done === true) return await reply.code(204).send();
  const sse = openSse(reply, signal);
  const comments = setInterval(() => sse.comment(''), deps.commentMs ?? defaultCommentMs);
  try {
    if (first !== undefined) await sse.send(frameOf(first.value));
    for await (const event of events) {
      if (event.type === 'delta' && !wish.deltas) continue;
      comments.refresh();
      await sse.send(frameOf(event));
    }
  } catch (error) {
    // Whoever hung up is told nothing; of a job that was removed meanwhile there is nothing more to tell.
    if (!signal.aborted && !(error instanceof JobNotFoundError)) {
      reply.log.error({ err: error, job_id: wish.id }, 'an event stream broke');
    }
  } finally {
    clearInterval(comments);
    await events.return();
    sse.end();
  }
  return reply;
}

function frameOf(event: NumberedEvent): SseEvent {
  const frame = { event: event.type, data: JSON.stringify(dataOf(event)) };
  return event.id === null ? frame : { ...frame, id: String(event.id) };
}

function dataOf(event: NumberedEvent): object {
  switch (event.type) {
    case 'status':
      return { job_id: event.job.id, status: event.status, at: time(event.at) };
    case 'agent':
      return { parts: event.parts, parent: event.parent, raw: event.raw };
    case 'stderr':
    case 'delta':
      return { text: event.text };
    case 'truncated':
      return { reason: event.reason, detail: 'Nothing more of this run becomes an event; the log holds all of it' };
    case 'end':
      return endData(event.job);
  }
}

function endData({ id, finishedAt, outcome }: Extract<NumberedEvent, { type: 'end' }>['job']): object {
  const { report } = outcome;
  return {
    job_id: id,
    status: outcome.status,
    reason: outcome.reason,
    error: outcome.error,
    at: time(finishedAt ?? 0),
    exit_code: report.exitCode,
    result: report.result,
    cost_usd: report.costUsd,
    num_turns: report.numTurns,
    session_id: report.sessionId,
  };
}
