import type { JsonObject } from '../jobs/job.ts';
import type { AgentEvent } from '../jobs/ports.ts';
import { readClaudeResult } from './claude-result.ts';
import { isObject, listAt, objectAt, parseObject, textAt, valueAt } from './json.ts';
import type { AgentReader } from './provider.ts';

/** Between the texts of two turns. */
const turnBreak = '\n\n';
/** The "model" of messages that the CLI makes up itself, such as the text of an API error. */
const syntheticModel = '<synthetic>';

/**
 * Reads the stream-json of the `claude` CLI. The answer is the text of the agent itself, not of its subagents: the streamed
 * pieces, or the whole message where none were streamed, or the result where no message came. A structured answer is the
 * result alone: what came before may be an attempt that did not fit the schema.
 */
export function createClaudeReader(structured: boolean): AgentReader {
  const answer = createAnswer();
  let started = false;
  return {
    read(line) {
      const event = parseObject(line);
      switch (textAt(event, 'type')) {
        case 'stream_event':
          return isOwn(event) && !structured ? textEvents(readStreamEvent(objectAt(event, 'event'), answer)) : [];
        case 'assistant':
          return isOwn(event) && !structured ? textEvents(readMessage(objectAt(event, 'message'), answer)) : [];
        case 'result':
          return textEvents(answer.empty() ? successText(line, structured) : '');
        case 'system':
          if (started || textAt(event, 'subtype') !== 'init') return [];
          started = true;
          return [{ type: 'start', model: textAt(event, 'model'), sessionId: textAt(event, 'session_id') }];
        default:
          return [];
      }
    },
  };
}

function textEvents(text: string): readonly AgentEvent[] {
  return text === '' ? [] : [{ type: 'text', text }];
}

/** False for what a subagent said: it answers the agent, not the caller. */
function isOwn(event: JsonObject | null): boolean {
  return (valueAt(event, 'parent_tool_use_id') ?? null) === null;
}

function readStreamEvent(event: JsonObject | null, answer: Answer): string {
  switch (textAt(event, 'type')) {
    case 'message_start':
      answer.begin(textAt(objectAt(event, 'message'), 'id'));
      return '';
    case 'content_block_delta': {
      const delta = objectAt(event, 'delta');
      return textAt(delta, 'type') === 'text_delta' ? answer.piece(textAt(delta, 'text') ?? '') : '';
    }
    default:
      return '';
  }
}

function readMessage(message: JsonObject | null, answer: Answer): string {
  if (textAt(message, 'model') === syntheticModel) return '';
  const texts = listAt(message, 'content')
    .filter(isObject)
    .filter((block) => textAt(block, 'type') === 'text')
    .map((block) => textAt(block, 'text') ?? '');
  return texts.length === 0 ? '' : answer.whole(textAt(message, 'id'), texts.join(''));
}

function successText(line: Buffer, structured: boolean): string {
  const result = readClaudeResult(line);
  return result?.failure === null && result.structured === structured ? (result.result ?? '') : '';
}

/** Puts the answer together. Each member returns what it adds to the answer, which may be nothing. */
interface Answer {
  /** A message starts to be streamed. */
  begin(id: string | null): void;
  /** A streamed piece of it. */
  piece(text: string): string;
  /** A text that is complete, whether or not it was streamed before. */
  whole(id: string | null, text: string): string;
  empty(): boolean;
}

/**
 * A message whose stream broke off is never completed: the CLI asks again, and another message gives the answer from its
 * beginning. What it repeats of the broken one, which is out already, is held back.
 */
function createAnswer(): Answer {
  let empty = true;
  /** The message being streamed, whether it gave any text, and what of that no complete text has confirmed yet. */
  let message: string | null = null;
  let streamed = false;
  let unconfirmed = '';
  /** What a broken message left, and how much of it its successor has repeated. */
  let broken = '';
  let repeated = '';
  /** The message that the last text came from. */
  let speaker: string | null = null;

  const breakOff = (): void => {
    if (unconfirmed !== '') broken = unconfirmed;
    unconfirmed = '';
    repeated = '';
  };
  const say = (id: string | null, text: string): string => {
    const separator = empty || (id !== null && id === speaker) ? '' : turnBreak;
    empty = false;
    speaker = id;
    return separator + text;
  };
  const continueBroken = (id: string | null, text: string): string => {
    repeated += text;
    if (broken.startsWith(repeated)) return '';
    const continues = repeated.startsWith(broken);
    const added = continues ? repeated.slice(broken.length) : repeated;
    unconfirmed = repeated;
    if (continues) speaker = id;
    broken = '';
    repeated = '';
    return continues ? added : say(id, added);
  };

  return {
    begin(id) {
      breakOff();
      message = id;
      streamed = false;
    },
    piece(text) {
      if (text === '') return '';
      streamed = true;
      if (broken !== '') return continueBroken(message, text);
      const added = unconfirmed === '' ? say(message, text) : text;
      unconfirmed += text;
      return added;
    },
    whole(id, text) {
      const known = streamed && id !== null && id === message;
      if (!known) breakOff();
      const added = known || text === '' ? '' : broken === '' ? say(id, text) : continueBroken(id, text);
      if (known || added !== '') speaker = id;
      unconfirmed = '';
      broken = '';
      repeated = '';
      return added;
    },
    empty: () => empty,
  };
}
