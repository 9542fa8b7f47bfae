import type { FinishedJob, JobRecord } from '../../../jobs/job.ts';
import type { StreamProtocol } from '../../calls/stream-answer.ts';
import type { SseEvent } from '../../sse.ts';
import type { OpenAiError } from '../errors.ts';
import { doorOf } from './door.ts';
import { outputItem, responseView, textPart } from './view.ts';

interface Numbered extends SseEvent {
  readonly number: number;
}
type Emit = (type: string, fields: object) => Numbered;

/**
 * The events of a streamed response after that number, numbered from 0. There are no others: clients know the set. The numbers are
 * the same whenever it is asked for: every job was queued first, and its text comes in the same pieces.
 */
export function responseStream(job: JobRecord, startingAfter = -1): StreamProtocol {
  const { begin, running, text, idle, end, failed } = allEvents(job);
  const later = (events: readonly Numbered[]): readonly Numbered[] =>
    events.filter(({ number }) => number > startingAfter);
  return {
    begin: () => later(begin()),
    running: () => later(running()),
    text: (piece) => later(text(piece)),
    idle,
    end: (ended) => later(end(ended)),
    failed: (error, ended) => later(failed(error, ended)),
  };
}

function allEvents(job: JobRecord) {
  let sequence = 0;
  let isRunning = false;
  const emit: Emit = (type, fields) => {
    const data = JSON.stringify({ type, sequence_number: sequence, ...fields });
    sequence += 1;
    return { event: type, data, number: sequence - 1 };
  };
  const item = itemEvents(job, emit);
  // A job that has ended is told from its beginning, too.
  const start = { ...job, outcome: null, finishedAt: null };
  const state = (status: 'queued' | 'in_progress') => ({ response: { ...responseView(start), status } });
  const running = (): readonly Numbered[] => {
    if (isRunning) return [];
    isRunning = true;
    return [emit('response.in_progress', state('in_progress'))];
  };
  const last = (type: string, ended: FinishedJob): Numbered => emit(type, { response: responseView(ended) });

  return {
    begin: () => [emit('response.created', state('queued')), emit('response.queued', state('queued'))],
    running,
    text: (piece: string) => [...running(), ...item.text(piece)],
    // Only comments: clients take no event that is not in the set.
    idle: () => [],
    end: (ended: FinishedJob) => [
      ...running(),
      ...item.end(),
      last(ended.status === 'completed' ? 'response.completed' : 'response.incomplete', ended),
    ],
    failed({ body: { error } }: OpenAiError, ended: FinishedJob | null) {
      // A run that began is told of, however soon it ended: the numbers do not depend on who saw it run.
      if (ended !== null) return [...(ended.startedAt === null ? [] : running()), last('response.failed', ended)];
      return [emit('error', { code: error.code, message: error.message, param: error.param })];
    },
  };
}

/** The events of the one item that an answer has: a message, or the call of a function. */
function itemEvents(job: JobRecord, emit: Emit) {
  const form = doorOf(job)?.form ?? { kind: 'text', stops: [] };
  const item = outputItem(job.id, form, '', 'in_progress');
  const place = { item_id: item.id, output_index: 0 };
  const inMessage = { ...place, content_index: 0 };
  let text = '';
  let opened = false;
  const open = (): readonly Numbered[] => {
    if (opened) return [];
    opened = true;
    const added = emit('response.output_item.added', { output_index: 0, item });
    if (form.kind === 'call') return [added];
    return [added, emit('response.content_part.added', { ...inMessage, part: textPart('') })];
  };
  const delta = (piece: string): Numbered =>
    form.kind === 'call'
      ? emit('response.function_call_arguments.delta', { ...place, delta: piece })
      : emit('response.output_text.delta', { ...inMessage, delta: piece, logprobs: [] });
  const close = (): readonly Numbered[] =>
    form.kind === 'call'
      ? [emit('response.function_call_arguments.done', { ...place, name: form.name, arguments: text })]
      : [
          emit('response.output_text.done', { ...inMessage, text, logprobs: [] }),
          emit('response.content_part.done', { ...inMessage, part: textPart(text) }),
        ];

  return {
    text(piece: string): readonly Numbered[] {
      text += piece;
      return [...open(), delta(piece)];
    },
    end(): readonly Numbered[] {
      const whole = { output_index: 0, item: outputItem(job.id, form, text, 'completed') };
      return [...open(), ...close(), emit('response.output_item.done', whole)];
    },
  };
}
