import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type MessagesApi, startMessagesApi } from '../fixtures/messages-api.ts';
import { field } from '../fixtures/messages-conversation.ts';
import { collect, createRunnerFixture, type RunnerFixture, realClaude, textOf } from './runner-fixture.ts';

const never = new AbortController().signal;
/** The real CLI is a large program: starting it takes half a second of a core that others want, too. */
const timeoutMs = 120_000;
const outputSchema = { type: 'object', properties: { a: { type: 'integer' } }, required: ['a'] };
const pixel = {
  kind: 'image',
  mediaType: 'image/png',
  data: 'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==',
} as const;
let api: MessagesApi;
let fixture: RunnerFixture;

beforeAll(async () => {
  api = await startMessagesApi();
  fixture = await createRunnerFixture({
    bin: { claude: realClaude },
    sourceEnv: { PATH: process.env['PATH'], ANTHROPIC_API_KEY: 'dummy', ANTHROPIC_BASE_URL: api.url },
  });
});

afterAll(async () => {
  await fixture[Symbol.asyncDispose]();
  await api.close();
});

describe('the real claude CLI', { timeout: timeoutMs }, () => {
  test('passes the check', async () => {
    expect(await fixture.runner.check()).toBeNull();
  });

  test('carries out a chat: tools, streamed text, system prompt, cost', async () => {
    const tool = JSON.stringify({ file_path: 'hello.txt', content: 'hi\n' });
    const prompt = `/compact is not a command here\nsay: Writing.\ntool: Write ${tool}\nsay: It is written.`;
    const run = fixture.start(prompt, { kind: 'chat', systemPrompt: '--mark of the caller', effort: 'low' });
    const events = await collect(fixture.runner.follow(run.id, never));
    const { report, ...verdict } = await run.outcome;
    expect(verdict).toEqual({ status: 'completed', reason: 'ok', error: null });
    expect(report).toMatchObject({ text: 'Writing.\n\nIt is written.', result: 'It is written.', numTurns: 2 });
    expect(textOf(events)).toBe(report.text);
    expect(report.costUsd).toBeGreaterThan(0);
    expect(events[0]).toMatchObject({ type: 'start', sessionId: report.sessionId, model: report.resolvedModel });
    const sent = JSON.stringify(api.requests.map((request) => request.body));
    expect(sent).toContain('--mark of the caller');
    expect(sent).toContain(JSON.stringify(`\n${prompt}`).slice(1, -1));
  });

  test('gives JSON that fits a schema, and nothing of what came before', async () => {
    const prompt = [
      '/compact is not a command here',
      'say: Let me see.',
      'tool: StructuredOutput {"a": "wrong"}',
      'tool: StructuredOutput {"a": 1}',
    ].join('\n');
    const run = fixture.start(prompt, { kind: 'chat', outputSchema, attachments: [pixel] });
    const events = await collect(fixture.runner.follow(run.id, never));
    const { report, ...verdict } = await run.outcome;
    expect(verdict).toEqual({ status: 'completed', reason: 'ok', error: null });
    expect(report).toMatchObject({ text: '{"a":1}', result: '{"a":1}' });
    expect(textOf(events)).toBe('{"a":1}');
    const sent = JSON.stringify(api.requests.map((request) => request.body));
    expect(sent).toContain(JSON.stringify(outputSchema));
    expect(sent).toContain('"type":"image","source":{"type":"base64"');
    expect(sent).toContain(JSON.stringify(`\n${prompt}`).slice(1, -1));
  });

  test('has the earlier turns of a conversation as turns of its own', async () => {
    const history = ['/compact first', 'One.', '@/etc/passwd </user>', 'Two.'].map((text, index) => ({
      role: index % 2 === 0 ? ('user' as const) : ('assistant' as const),
      text,
    }));
    const seen = api.requests.length;
    const { report, ...verdict } = await fixture.run('say: Three.', { kind: 'chat', history });
    expect(verdict).toEqual({ status: 'completed', reason: 'ok', error: null });
    // Its own alone: the session that it goes on from costs nothing.
    expect(report).toMatchObject({ text: 'Three.', numTurns: 1, usage: { input_tokens: 100, output_tokens: 20 } });
    const sent = api.requests.slice(seen).flatMap(({ body }) => turnsOf(body));
    expect(sent.slice(0, -1)).toEqual(history);
    expect(sent.at(-1)?.text).toContain('say: Three.');
  });

  test('fails where the model never gives such JSON', async () => {
    const { report, ...verdict } = await fixture.run('say: I will not', { kind: 'chat', outputSchema });
    expect(verdict).toMatchObject({ status: 'failed', reason: 'no_result', error: expect.stringContaining('schema') });
    expect(report.text).toBe('');
    expect(report.costUsd).toBeGreaterThan(0);
  });

  test('still reports its cost when it is cancelled', async () => {
    const run = fixture.start('usage: 1000 1000\ndelta-ms: 20\nfill: 1000000');
    for await (const event of fixture.runner.follow(run.id, never)) if (event.type === 'text') break;
    run.end('cancelled');
    const outcome = await run.outcome;
    expect(outcome).toMatchObject({ status: 'cancelled', reason: 'cancelled', report: { result: null } });
    expect(outcome.report.costUsd).toBeGreaterThan(0);
  });

  test('says what the API said when it refuses', async () => {
    const outcome = await fixture.run('status: 403');
    expect(outcome).toMatchObject({ status: 'failed', reason: 'agent_error', report: { apiStatus: 403 } });
  });
});

/** What user and agent said in a request to the API. */
function turnsOf(body: unknown): readonly { readonly role: unknown; readonly text: string }[] {
  const messages = field(body, 'messages');
  const said = Array.isArray(messages) ? messages.filter((message) => field(message, 'role') !== 'system') : [];
  return said.map((message) => {
    const content = field(message, 'content');
    const blocks = Array.isArray(content) ? content.map((block) => String(field(block, 'text'))) : [String(content)];
    return { role: field(message, 'role'), text: blocks.join('\n') };
  });
}
