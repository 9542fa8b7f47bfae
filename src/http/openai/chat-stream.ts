import type { StreamProtocol } from '../calls/stream-answer.ts';
import type { SseEvent } from '../sse.ts';
import type { AnswerForm } from './answer-form.ts';
import { type ChatHead, type Chunk, finishReason, functionCall } from './answers.ts';
import { createStopCutter } from './stop.ts';
import { usageOf } from './usage.ts';

export type StreamedChat = ChatHead & { readonly includeUsage: boolean; readonly form: AnswerForm };

/** A streamed chat completion: a chunk with the role, deltas, one with the reason, the usage on request, `[DONE]`. */
export function chatStream(chat: StreamedChat): StreamProtocol {
  const { form } = chat;
  const cutter = createStopCutter(form.kind === 'text' ? form.stops : []);
  let called = false;
  const textDelta = (text: string): readonly SseEvent[] => (text === '' ? [] : [deltaEvent(chat, { content: text })]);
  const callDelta = (piece: string): SseEvent => {
    const first = !called;
    called = true;
    return deltaEvent(chat, callPiece(chat, piece, first));
  };
  return {
    begin: () => [deltaEvent(chat, { role: 'assistant', content: form.kind === 'call' ? null : '', refusal: null })],
    running: () => [],
    text: (piece) => (form.kind === 'call' ? [callDelta(piece)] : textDelta(cutter.push(piece))),
    idle: () => [deltaEvent(chat, {})],
    end: (job) => [
      ...textDelta(cutter.rest()),
      deltaEvent(chat, {}, finishReason(job, form)),
      ...(chat.includeUsage ? [chunkEvent({ ...chunkOf(chat, []), usage: usageOf(job.outcome.report.usage) })] : []),
      { data: '[DONE]' },
    ],
    failed: ({ body }) => [...textDelta(cutter.rest()), { data: JSON.stringify(body) }],
  };
}

type Choice = Chunk['choices'][number];

function callPiece(chat: StreamedChat, piece: string, first: boolean): Choice['delta'] {
  if (chat.form.kind !== 'call') return {};
  const { id, ...call } = functionCall(chat, chat.form.name, piece);
  const named = first ? call.function : { arguments: piece };
  if (chat.form.legacy) return { function_call: named };
  return { tool_calls: [first ? { index: 0, id, ...call } : { index: 0, function: named }] };
}

function deltaEvent(chat: StreamedChat, delta: Choice['delta'], finish: Choice['finish_reason'] = null): SseEvent {
  return chunkEvent(chunkOf(chat, [{ index: 0, delta, logprobs: null, finish_reason: finish }]));
}

function chunkEvent(chunk: Chunk): SseEvent {
  return { data: JSON.stringify(chunk) };
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
