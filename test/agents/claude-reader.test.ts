import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { claude } from '../../src/agents/claude.ts';
import type { AgentEvent } from '../../src/jobs/ports.ts';

const transcripts = join(import.meta.dirname, '../fixtures/transcripts');

function linesOf(name: string): readonly string[] {
  return readFileSync(join(transcripts, `${name}.jsonl`), 'utf8')
    .trimEnd()
    .split('\n');
}

function read(lines: readonly (string | object)[]): readonly AgentEvent[] {
  const reader = claude.output.createReader(false);
  return lines.flatMap((line) => reader.read(Buffer.from(typeof line === 'string' ? line : JSON.stringify(line))));
}

function textOf(lines: readonly (string | object)[]): string {
  return read(lines)
    .map((event) => (event.type === 'text' ? event.text : ''))
    .join('');
}

const start = (id: string) => ({
  type: 'stream_event',
  event: { type: 'message_start', message: { id, role: 'assistant' } },
});
const delta = (text: string, parent: string | null = null) => ({
  type: 'stream_event',
  event: { type: 'content_block_delta', delta: { type: 'text_delta', text } },
  parent_tool_use_id: parent,
});
const whole = (id: string | undefined, ...texts: readonly string[]) => ({
  type: 'assistant',
  message: { id, content: texts.map((text) => ({ type: 'text', text })) },
});
const success = (result: string) => ({ type: 'result', subtype: 'success', is_error: false, result });

describe('the answer in a transcript of the CLI', () => {
  test.each([
    ['write-then-text', 'Writing the file.\n\nThe file is written.'],
    ['subagent', 'calling a subagent\n\nfinal words'],
    ['cut-then-retry', 'one two three four five six seven eight nine ten eleven twelve thirteen'],
    ['stream-error-then-fallback', 'one two three four five six seven eight nine ten eleven twelve thirteen'],
    ['interrupted', 'one two thre'],
    ['unauthorized', ''],
  ])('%s', (name, text) => {
    expect(textOf(linesOf(name))).toBe(text);
  });

  test.each(['text', 'thinking', 'rate-limit-then-text'])('%s: one turn is the result', (name) => {
    const result = claude.output.readResult(Buffer.from(linesOf(name).at(-1) ?? ''))?.result;
    expect(result).toBeTruthy();
    expect(textOf(linesOf(name))).toBe(result);
  });

  test.each(readdirSync(transcripts).map((file) => file.replace('.jsonl', '')))(
    '%s: the lines without a needle say nothing',
    (name) => {
      const lines = linesOf(name);
      const wanted = lines.filter((line) =>
        [...claude.output.eventNeedles, claude.output.resultNeedle].some((needle) => line.includes(needle.toString())),
      );
      expect(wanted.length).toBeLessThan(lines.length);
      expect(read(wanted)).toEqual(read(lines));
    },
  );

  test('starts once, with the model that the CLI chose', () => {
    const starts = read(linesOf('text')).filter((event) => event.type === 'start');
    expect(starts).toEqual([
      { type: 'start', model: 'claude-sonnet-4-6', sessionId: expect.stringMatching(/^[0-9a-f-]{36}$/) },
    ]);
  });
});

describe('the answer in other streams', () => {
  test.each([
    ['pieces alone', [delta('Hel'), delta('lo')], 'Hello'],
    [
      'pieces without a start, then the whole',
      [delta('Hel'), delta('lo'), whole('a', 'Hello'), success('Hello')],
      'Hello',
    ],
    ['whole messages alone', [whole('a', 'One.'), whole('b', 'Two.'), success('Two.')], 'One.\n\nTwo.'],
    ['whole messages without ids', [whole(undefined, 'One.'), whole(undefined, 'Two.')], 'One.\n\nTwo.'],
    ['two blocks of one message', [whole('a', 'One, '), whole('a', 'two.')], 'One, two.'],
    ['the result alone', [success('Only this.')], 'Only this.'],
    ['an error result alone', [{ ...success('API Error'), is_error: true }], ''],
    ['a subagent', [start('a'), delta('mine'), delta('not mine', 'toolu_1'), whole('a', 'mine')], 'mine'],
    ['a tool in between', [start('a'), delta('One.'), whole('a', 'One.'), start('b'), delta('Two.')], 'One.\n\nTwo.'],
    [
      'a broken message, and a different one after it',
      [start('a'), delta('one two'), start('b'), delta('one'), delta(' three'), whole('b', 'one three')],
      'one two\n\none three',
    ],
    [
      'a message that broke twice',
      [start('a'), delta('one two'), start('b'), delta('one'), start('c'), delta('one two three')],
      'one two three',
    ],
    [
      'a turn after a repeated message',
      [start('a'), delta('one'), start('b'), delta('one two'), whole('b', 'one two'), start('c'), delta('three')],
      'one two\n\nthree',
    ],
    ['a text that starts as the one before', [whole('a', 'Yes'), whole('b', 'Yes, and no')], 'Yes\n\nYes, and no'],
    ['what is no event', ['', 'null', '[]', '7', '{"type":', '{"type":7}', '{"type":"assistant","message":[]}'], ''],
    ['keys that every object has', [{ type: 'assistant', message: { content: [{ type: '__proto__' }] } }], ''],
  ])('%s', (_, lines, text) => {
    expect(textOf(lines)).toBe(text);
  });
});

describe('the result object', () => {
  const resultOf = (name: string) => claude.output.readResult(Buffer.from(linesOf(name).at(-1) ?? ''));

  test('of a success holds what the run cost and who answered', () => {
    expect(resultOf('text')).toMatchObject({
      failure: null,
      usage: { input_tokens: 100 },
      costUsd: expect.any(Number),
      numTurns: 1,
      sessionId: expect.any(String),
      resolvedModel: 'claude-sonnet-4-6',
      apiStatus: null,
    });
  });

  test.each([
    ['unauthorized', 'agent_error', /401/, 401],
    ['budget', 'budget', /maximum budget/, null],
    ['max-turns', 'max_turns', /maximum number of turns/, null],
    ['interrupted', 'agent_error', /./, null],
    ['refusal', 'agent_error', /API Error/, null],
    ['max-tokens', 'agent_error', /output token maximum/, null],
  ])('of a failure says why: %s', (name, reason, error, apiStatus) => {
    expect(resultOf(name)).toMatchObject({ failure: { reason, error: expect.stringMatching(error) }, apiStatus });
  });

  test.each([
    ['is_error is missing', { subtype: 'success' }],
    ['is_error is a text', { subtype: 'success', is_error: 'false' }],
    ['the subtype is missing', { is_error: false }],
  ])('is no success when %s', (_, fields) => {
    const result = claude.output.readResult(Buffer.from(JSON.stringify({ type: 'result', ...fields })));
    expect(result?.failure?.reason).toBe('agent_error');
  });

  test('leaves out what could not be kept', () => {
    const deep = `${'{"a":'.repeat(50_000)}1${'}'.repeat(50_000)}`;
    const line = `{"type":"result","total_cost_usd":1e999,"usage":${deep},"result":7}`;
    expect(claude.output.readResult(Buffer.from(line))).toMatchObject({ costUsd: null, usage: null, result: null });
  });

  test('names the model that wrote the most', () => {
    const modelUsage = { small: { outputTokens: 3 }, big: { outputTokens: 20 }, none: {} };
    expect(claude.output.readResult(Buffer.from(JSON.stringify({ type: 'result', modelUsage })))?.resolvedModel).toBe(
      'big',
    );
  });

  test.each(['', '{}', '"result"', '{"type":"results"}', '{"a":{"type":"result"}}', '{"type":"result"'])(
    'is not %j',
    (line) => {
      expect(claude.output.readResult(Buffer.from(line))).toBeNull();
    },
  );
});
