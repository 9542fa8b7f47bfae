import type { Json, JsonObject } from '../jobs/job.ts';
import type { AgentLine, AgentPart } from '../jobs/run-log.ts';
import { readClaudeResult } from './claude-result.ts';
import { isObject, listAt, objectAt, parseObject, textAt, valueAt } from './json.ts';
import type { EventFormat } from './provider.ts';

/** How the CLI prints pieces; another order of the keys is found by parsing. */
const deltaStart = Buffer.from('{"type":"stream_event"');
const deltaNeedle = Buffer.from('"stream_event"');

/** The stream-json of the `claude` CLI as events. */
export const claudeEvents: EventFormat = {
  isDelta: (line) =>
    line.subarray(0, deltaStart.length).equals(deltaStart) ||
    (line.includes(deltaNeedle) && textAt(parseObject(line), 'type') === 'stream_event'),
  delta(line) {
    const object = parseObject(line);
    if (parentOf(object) !== null) return null;
    const delta = objectAt(objectAt(object, 'event'), 'delta');
    return textAt(delta, 'type') === 'text_delta' ? textAt(delta, 'text') : null;
  },
  read(line): AgentLine {
    const object = parseObject(line);
    return { parts: partsOf(object, line), parent: parentOf(object) };
  },
};

function parentOf(object: JsonObject | null): string | null {
  return textAt(object, 'parent_tool_use_id');
}

function partsOf(object: JsonObject | null, line: Buffer): readonly AgentPart[] {
  switch (textAt(object, 'type')) {
    case 'system':
      return textAt(object, 'subtype') === 'init'
        ? [{ type: 'start', model: textAt(object, 'model'), session_id: textAt(object, 'session_id') }]
        : [];
    case 'assistant':
    case 'user':
      return contentParts(objectAt(object, 'message'));
    case 'result':
      return resultPart(line);
    default:
      return [];
  }
}

function contentParts(message: JsonObject | null): readonly AgentPart[] {
  const text = textAt(message, 'content');
  if (text !== null) return [{ type: 'text', text }];
  return listAt(message, 'content').filter(isObject).flatMap(blockPart);
}

function blockPart(block: JsonObject): readonly AgentPart[] {
  switch (textAt(block, 'type')) {
    case 'text':
      return [{ type: 'text', text: textAt(block, 'text') ?? '' }];
    case 'thinking':
      return [{ type: 'thinking', text: textAt(block, 'thinking') ?? '' }];
    case 'tool_use':
      return [
        {
          type: 'tool_call',
          id: textAt(block, 'id'),
          name: textAt(block, 'name'),
          input: valueAt(block, 'input') ?? null,
        },
      ];
    case 'tool_result':
      return [
        {
          type: 'tool_result',
          id: textAt(block, 'tool_use_id'),
          is_error: valueAt(block, 'is_error') === true,
          text: resultText(valueAt(block, 'content')),
        },
      ];
    default:
      return [];
  }
}

/** A tool answers with a text, or with blocks of which the texts count here; the others are in the raw line. */
function resultText(content: Json | undefined): string {
  if (typeof content === 'string') return content;
  if (!Array.isArray(content)) return '';
  const blocks: readonly Json[] = content;
  return blocks
    .filter(isObject)
    .flatMap((block) => textAt(block, 'text') ?? [])
    .join('\n');
}

function resultPart(line: Buffer): readonly AgentPart[] {
  const result = readClaudeResult(line);
  if (result === null) return [];
  return [
    {
      type: 'result',
      is_error: result.failure !== null,
      text: result.result,
      cost_usd: result.costUsd,
      num_turns: result.numTurns,
      usage: result.usage,
    },
  ];
}
