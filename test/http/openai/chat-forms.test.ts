import { describe, expect, test } from 'vitest';
import type { JobOutcome } from '../../../src/jobs/job.ts';
import { completed, type ScriptedRun } from '../../helpers/fake-ports.ts';
import { type ChatApp, createChatApp, question } from './chat-app.ts';

const json = '{"a":1}';
const parameters = { type: 'object', properties: { a: { type: 'integer' } } };
const tools = [{ type: 'function', function: { name: 'f', description: 'Takes a', parameters } }];
const named = { type: 'function', function: { name: 'f' } };
const titled = { title: 'f', description: 'Takes a', ...parameters };

const saying =
  (...pieces: readonly string[]) =>
  async (run: ScriptedRun): Promise<JobOutcome> => {
    for (const piece of pieces) run.say(piece);
    return completed({ text: pieces.join('') });
  };

/** For streams: each piece is out before the next one comes. */
const saidSlowly =
  (...pieces: readonly string[]) =>
  async (run: ScriptedRun): Promise<JobOutcome> => {
    for (const piece of pieces) {
      run.say(piece);
      await run.heard();
    }
    return completed({ text: pieces.join('') });
  };

interface Chunk {
  readonly choices: readonly {
    readonly delta: { readonly content?: string | null; readonly tool_calls?: readonly object[] };
    readonly finish_reason: string | null;
  }[];
}

async function stream(app: ChatApp, body: object): Promise<readonly Chunk[]> {
  const answer = await app.chat({ ...question, ...body, stream: true });
  expect(answer.statusCode).toBe(200);
  const events = answer.body.split('\n\n').filter((event) => event !== '' && event !== 'data: [DONE]');
  return events.map((event) => JSON.parse(event.replace(/^data: /, '')) as Chunk);
}

function contentOf(chunks: readonly Chunk[]): string {
  return chunks.map((chunk) => chunk.choices[0]?.delta.content ?? '').join('');
}

async function schemaOf({ allJobs }: ChatApp): Promise<unknown> {
  return (await allJobs())[0]?.spec.outputSchema;
}

describe('an answer that is JSON', () => {
  test.each([
    [{ type: 'json_object' }, { type: 'object' }],
    [{ type: 'json_object', schema: parameters }, parameters],
    [
      { type: 'json_schema', json_schema: { name: 'f', description: 'Takes a', strict: true, schema: parameters } },
      titled,
    ],
    [
      { type: 'json_schema', json_schema: { name: 'f', schema: { properties: {} } } },
      { title: 'f', type: 'object', properties: {} },
    ],
  ])('of the format %j fits %j', async (response_format, schema) => {
    const app = await createChatApp({ script: saying(json) });
    const answer = await app.chat({ ...question, response_format });
    expect(answer.json()).toMatchObject({ choices: [{ message: { content: json }, finish_reason: 'stop' }] });
    expect(await schemaOf(app)).toEqual(schema);
  });

  test('comes as it is in a stream', async () => {
    const app = await createChatApp({ script: saying(json) });
    const chunks = await stream(app, { response_format: { type: 'json_object' } });
    expect(contentOf(chunks)).toBe(json);
  });

  test('has a schema in the words that the agent takes', async () => {
    const app = await createChatApp({ script: saying(json) });
    const schema = {
      $schema: 'https://json-schema.org/draft/2020-12/schema',
      type: 'object',
      properties: {
        pair: { type: 'array', prefixItems: [{ type: 'string' }], items: false, 'x-order': 1 },
        again: { $ref: '#' },
        one: { $ref: '#/$defs/a~1b' },
        kind: { enum: ['a', 'a', 'b'], nullable: true },
        name: { type: ['string', 'null'], nullable: true, format: 'email', deprecated: true },
      },
      required: ['pair', 'pair'],
      discriminator: { propertyName: 'kind' },
      $defs: { 'a/b': true },
    };
    await app.chat({ ...question, response_format: { type: 'json_schema', json_schema: { name: 'f', schema } } });
    expect(await schemaOf(app)).toEqual({
      title: 'f',
      type: 'object',
      properties: {
        pair: { type: 'array', items: [{ type: 'string' }], additionalItems: false },
        again: { $ref: '#' },
        one: { $ref: '#/$defs/a~1b' },
        kind: { enum: ['a', 'b'] },
        name: { type: ['string', 'null'], nullable: true, format: 'email' },
      },
      required: ['pair'],
      $defs: { 'a/b': true },
    });
  });
});

describe('a function that must be called', () => {
  test.each([[named], ['required']])('is called, with tool_choice %j', async (tool_choice) => {
    const app = await createChatApp({ script: saying(json) });
    const answer = await app.chat({ ...question, tools, tool_choice });
    expect(answer.json()).toMatchObject({
      choices: [
        {
          message: {
            content: null,
            tool_calls: [
              { id: expect.stringMatching(/^call_/), type: 'function', function: { name: 'f', arguments: json } },
            ],
          },
          finish_reason: 'tool_calls',
        },
      ],
    });
    expect(answer.headers).not.toHaveProperty('x-ignored-params');
    expect(await schemaOf(app)).toEqual(titled);
  });

  test('is called in the words of before there were tools', async () => {
    const app = await createChatApp({ script: saying(json) });
    const answer = await app.chat({ ...question, functions: [{ name: 'f' }], function_call: { name: 'f' } });
    expect(answer.json()).toMatchObject({
      choices: [
        { message: { content: null, function_call: { name: 'f', arguments: json } }, finish_reason: 'function_call' },
      ],
    });
    expect(answer.body).not.toContain('tool_calls');
    expect(await schemaOf(app)).toEqual({ title: 'f', type: 'object', properties: {} });
  });

  test('is called in a stream, its arguments in pieces', async () => {
    const app = await createChatApp({ script: saidSlowly('{"a"', ':1}') });
    const chunks = await stream(app, { tools, tool_choice: named });
    expect(chunks.map((chunk) => chunk.choices[0])).toMatchObject([
      { delta: { role: 'assistant', content: null } },
      {
        delta: {
          tool_calls: [
            {
              index: 0,
              id: expect.stringMatching(/^call_/),
              type: 'function',
              function: { name: 'f', arguments: '{"a"' },
            },
          ],
        },
      },
      { delta: { tool_calls: [{ index: 0, function: { arguments: ':1}' } }] } },
      { delta: {}, finish_reason: 'tool_calls' },
    ]);
  });
});

describe('a stop', () => {
  const cases = [
    [['one END two'], ['END'], 'one '],
    [['one E', 'N', 'D two'], ['END'], 'one '],
    [['one E', 'N'], 'END', 'one EN'],
    [['a', 'b', 'c', 'd'], ['cd', 'bc'], 'a'],
    [['one'], '', 'one'],
    [['ENEND'], ['END'], 'EN'],
    [['END'], ['END'], ''],
  ] as const;

  test.each(cases)('cuts the pieces %j at %j to %j', async (pieces, stop, text) => {
    const app = await createChatApp({ script: saying(...pieces) });
    const answer = await app.chat({ ...question, stop });
    expect(answer.json()).toMatchObject({ choices: [{ message: { content: text }, finish_reason: 'stop' }] });
    const chunks = await stream(await createChatApp({ script: saidSlowly(...pieces) }), { stop });
    expect(contentOf(chunks)).toBe(text);
  });
});

describe('what comes with a text', () => {
  const image = 'data:image/png;base64,AA==';
  const user = (...content: readonly object[]): object => ({ messages: [{ role: 'user', content }] });

  test('reaches the agent, with a mark in its place', async () => {
    const app = await createChatApp();
    const answer = await app.chat(
      user(
        { type: 'text', text: 'See' },
        { type: 'image_url', image_url: { url: image, detail: 'low' } },
        { type: 'file', file: { filename: 'a.pdf', file_data: 'data:application/pdf;base64,AAAA' } },
        { type: 'file', file: { filename: 'a.txt', file_data: 'data:text/plain;charset=utf-8;base64,aMOp' } },
      ),
    );
    expect(answer.statusCode).toBe(200);
    const spec = (await app.allJobs())[0]?.spec;
    expect(spec?.prompt).toBe('See\n[attached image 1]\n[attached document 2 "a.pdf"]\n<file "a.txt">\nhé\n</file>');
    expect(spec?.attachments).toEqual([
      { kind: 'image', mediaType: 'image/png', data: 'AA==' },
      { kind: 'document', mediaType: 'application/pdf', data: 'AAAA' },
    ]);
  });

  test('may be all that there is', async () => {
    const app = await createChatApp();
    expect((await app.chat(user({ type: 'image_url', image_url: { url: image } }))).statusCode).toBe(200);
    expect((await app.allJobs())[0]?.spec.prompt).toBe('[attached image 1]');
  });
});
