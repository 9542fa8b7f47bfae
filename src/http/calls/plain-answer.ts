import type { FastifyReply } from 'fastify';
import { type FinishedJob, isFinished, type JobRecord } from '../../jobs/job.ts';
import { OpenAiError } from '../openai/errors.ts';
import { setProcessingTime } from '../openai/processing-time.ts';
import { runError, unfollowedError } from '../openai/run-error.ts';
import type { Call } from './call.ts';
import { longestSilenceMs, returnsWithinMs } from './patience.ts';

/** How a plain answer that takes long is kept alive, in milliseconds. Sooner for a client that says it waits for less. */
export interface PlainTiming {
  /** After so long the headers go out, although the answer is not known: Node's fetch gives up after 300 s without them. */
  readonly headersMs: number;
  /** Between two bits of white space then: some clients and proxies cut after 20 s. */
  readonly spaceMs: number;
}

const defaultTiming: PlainTiming = { headersMs: 240_000, spaceMs: 15_000 };

/** How one protocol says what became of a run. */
export interface PlainProtocol<T> {
  answer(job: FinishedJob): T;
  /** A failure that is known only after the status 200 went out, in a body that a client of this protocol can read. */
  lateFailure(error: OpenAiError, job: FinishedJob | null): unknown;
}

/**
 * Waits for the end of a run and answers it. Where that takes long the status goes out first, as 200, then white space, which
 * JSON may begin with. Throws `OpenAiError` for a run without an answer as long as the status is still open.
 */
export async function answerPlain<T>(
  call: Call,
  timing: PlainTiming | undefined,
  protocol: PlainProtocol<T>,
): Promise<T | FastifyReply> {
  const { reply, signal } = call;
  const opening = openLater(call, timing ?? defaultTiming);
  let ended: JobRecord | null = null;
  try {
    ended = await waitForEnd(call);
    const job = ended;
    const error = runError(job) ?? (isFinished(job) ? null : unfollowedError());
    if (error !== null) throw error;
    const answer = protocol.answer(job as FinishedJob);
    if (!opening.isOpen()) return answer;
    opening.end(answer);
    return reply;
  } catch (error) {
    // Nobody is there to be answered.
    if (signal.aborted) return opening.isOpen() ? reply : reply.hijack();
    if (!opening.isOpen()) throw error;
    if (!(error instanceof OpenAiError)) {
      // Nobody else can answer any more.
      reply.raw.destroy();
      throw error;
    }
    // Where nothing was spent the client may try again, and does so when the connection breaks.
    if (error.headers['x-should-retry'] === 'true') reply.raw.destroy();
    else opening.end(protocol.lateFailure(error, ended !== null && isFinished(ended) ? ended : null));
    return reply;
  } finally {
    opening.stop();
  }
}

async function waitForEnd({ jobs, runs, models, job, signal, log, reply }: Call): Promise<JobRecord> {
  const returns = (waitedMs: number): number => returnsWithinMs(reply.request, waitedMs, runs.patienceMs(job.id));
  try {
    const ended = await runs.attend(job, signal, () => jobs.wait(job.id, null, signal), returns);
    models.note(ended);
    models.tell(reply, job.spec.model ?? '');
    return ended;
  } catch (error) {
    if (!signal.aborted) log.error({ err: error, job_id: job.id }, 'a run could not be waited for');
    throw signal.aborted ? error : unfollowedError();
  }
}

interface Opening {
  /** True once the status went out. */
  isOpen(): boolean;
  end(body: unknown): void;
  stop(): void;
}

function openLater({ runs, job, reply, signal }: Call, { headersMs, spaceMs }: PlainTiming): Opening {
  const silenceMs = longestSilenceMs(reply.request, runs.patienceMs(job.id));
  let spaces: NodeJS.Timeout | undefined;
  const open = setTimeout(
    () => {
      if (signal.aborted) return;
      const { raw } = reply.hijack();
      setProcessingTime(reply);
      reply.headers({ 'content-type': 'application/json; charset=utf-8', 'x-accel-buffering': 'no' });
      for (const [name, value] of Object.entries(reply.getHeaders()))
        if (value !== undefined) raw.setHeader(name, value);
      const space = (): void => void (raw.writableNeedDrain || raw.destroyed || raw.write(' \n'));
      raw.on('error', (error) => reply.log.debug({ err: error }, 'a plain answer broke'));
      space();
      spaces = setInterval(space, Math.min(spaceMs, silenceMs));
    },
    Math.min(headersMs, silenceMs),
  );
  return {
    isOpen: () => spaces !== undefined,
    end(body) {
      clearInterval(spaces);
      reply.raw.end(JSON.stringify(body));
    },
    stop() {
      clearTimeout(open);
      clearInterval(spaces);
    },
  };
}
