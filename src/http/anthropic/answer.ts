import type { FinishedJob, JobRecord, JsonObject } from '../../jobs/job.ts';
import { idPart } from '../calls/call.ts';
import type { StreamProtocol } from '../calls/stream-answer.ts';
import type { AnswerForm } from '../openai/answer-form.ts';
import { answerText } from '../openai/answers.ts';
import type { OpenAiError } from '../openai/errors.ts';
import { createStopCutter, stopIn } from '../openai/stop.ts';
import type { SseEvent } from '../sse.ts';
import { anthropicError } from './errors.ts';
import type { MessageObject } from './schemas.ts';

type StopReason = NonNullable<MessageObject['stop_reason']>;

/** The whole answer to a plain call, of a job that has one. */
export function messageOf(form: AnswerForm, job: FinishedJob): MessageObject {
  const whole = answerText(job.outcome.report);
  const { text, stop } = form.kind === 'text' ? stopIn(whole, form.stops) : { text: whole, stop: null };
  const content =
    form.kind === 'call'
      ? { ...toolUse(job, form.name), input: JSON.parse(whole) as JsonObject }
      : { type: 'text', text, citations: null };
  return {
    ...emptyMessage(job),
    content: [content],
    stop_reason: stopReason(form, job, stop),
    stop_sequence: stop,
    usage: usageOf(job),
  };
}

/** A failure that came after the status 200 had gone out, such that a client which looks for content finds words. */
export function failedMessage(error: OpenAiError, job: JobRecord) {
  const content = [{ type: 'text', text: error.message, citations: null }];
  return { ...emptyMessage(job), content, stop_reason: 'refusal', usage: usageOf(job), error: anthropicError(error) };
}

/** The events of a streamed message. */
export function messageStream(form: AnswerForm, job: JobRecord): StreamProtocol {
  const cutter = createStopCutter(form.kind === 'text' ? form.stops : []);
  const index = 0;
  let opened = false;
  const open = (): readonly SseEvent[] => {
    if (opened) return [];
    opened = true;
    const block = form.kind === 'call' ? toolUse(job, form.name) : { type: 'text', text: '', citations: null };
    return [event('content_block_start', { index, content_block: block })];
  };
  const delta = (text: string): readonly SseEvent[] => {
    if (text === '') return [];
    const piece =
      form.kind === 'call' ? { type: 'input_json_delta', partial_json: text } : { type: 'text_delta', text };
    return [...open(), event('content_block_delta', { index, delta: piece })];
  };
  return {
    begin: () => [event('message_start', { message: emptyMessage(job) }), event('ping', {})],
    running: () => [],
    text: (piece) => delta(cutter.push(piece)),
    idle: () => [event('ping', {})],
    end(ended) {
      const rest = delta(cutter.rest());
      const stop = cutter.stop();
      const reason = { stop_reason: stopReason(form, ended, stop), stop_sequence: stop };
      return [
        ...open(),
        ...rest,
        event('content_block_stop', { index }),
        event('message_delta', { delta: reason, usage: usageOf(ended) }),
        event('message_stop', {}),
      ];
    },
    failed: (error) => [event('error', { error: anthropicError(error) })],
  };
}

function event(type: string, fields: object): SseEvent {
  return { event: type, data: JSON.stringify({ type, ...fields }) };
}

function emptyMessage(job: JobRecord): MessageObject {
  return {
    id: `msg_${idPart(job)}`,
    type: 'message',
    role: 'assistant',
    model: job.spec.model ?? '',
    content: [],
    stop_reason: null,
    stop_sequence: null,
    usage: { input_tokens: 0, cache_creation_input_tokens: 0, cache_read_input_tokens: 0, output_tokens: 0 },
  };
}

function toolUse(job: JobRecord, name: string) {
  return { type: 'tool_use', id: `toolu_${idPart(job)}`, name, input: {} };
}

function stopReason(form: AnswerForm, { status }: FinishedJob, stop: string | null): StopReason {
  if (stop !== null) return 'stop_sequence';
  if (status !== 'completed') return 'max_tokens';
  return form.kind === 'call' ? 'tool_use' : 'end_turn';
}

/** As the CLI reports it: these are the words of its own API. */
function usageOf({ outcome }: JobRecord): MessageObject['usage'] {
  const usage = outcome?.report.usage;
  return {
    input_tokens: count(usage?.['input_tokens']),
    cache_creation_input_tokens: count(usage?.['cache_creation_input_tokens']),
    cache_read_input_tokens: count(usage?.['cache_read_input_tokens']),
    output_tokens: count(usage?.['output_tokens']),
  };
}

function count(value: unknown): number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value > 0 ? value : 0;
}
