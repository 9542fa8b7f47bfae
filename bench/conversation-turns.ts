// What the model's API receives of a conversation, by each way in which the real CLI can be given one.
// node bench/conversation-turns.ts [full]
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { type MessagesApi, startMessagesApi } from '../test/fixtures/messages-api.ts';
import { field } from '../test/fixtures/messages-conversation.ts';
import { print } from './figures.ts';

const bin = join(import.meta.dirname, '..', 'node_modules', '.bin', 'claude');
const flags = [
  ...['-p', '--output-format=stream-json', '--verbose', '--dangerously-skip-permissions', '--no-session-persistence'],
  ...['--strict-mcp-config', '--max-budget-usd=5', '--disallowedTools=ListAgents,SendMessage'],
];
const task = 'say: three';
const sessionId = '5f0f8a4e-6a0b-4d55-9a8e-0d1f5a3c7b11';

interface Turn {
  readonly role: 'user' | 'assistant';
  readonly content: unknown;
}

const plain: readonly Turn[] = [
  { role: 'user', content: 'FIRST question' },
  { role: 'assistant', content: [{ type: 'text', text: 'FIRST answer' }] },
  { role: 'user', content: 'SECOND question' },
  { role: 'assistant', content: [{ type: 'text', text: 'SECOND answer' }] },
];
/** A tool that the client has and the agent does not know. */
const withTool: readonly Turn[] = [
  { role: 'user', content: 'FIRST question' },
  { role: 'assistant', content: [{ type: 'tool_use', id: 'call_1', name: 'get_weather', input: { city: 'Bern' } }] },
  { role: 'user', content: [{ type: 'tool_result', tool_use_id: 'call_1', content: 'TOOL said 7' }] },
  { role: 'assistant', content: [{ type: 'text', text: 'SECOND answer' }] },
];
/** What clients send, too: an answer first, two of one side in a row, a call whose result is missing. */
const odd: readonly Turn[] = [
  { role: 'assistant', content: [{ type: 'text', text: 'GREETING' }] },
  { role: 'user', content: 'FIRST question' },
  { role: 'user', content: 'FIRST question, again' },
  { role: 'assistant', content: [{ type: 'text', text: 'FIRST answer' }] },
  { role: 'assistant', content: [{ type: 'tool_use', id: 'call_2', name: 'get_weather', input: {} }] },
];

interface Way {
  readonly stdin: string;
  readonly args: readonly string[];
}

const line = (value: object): string => `${JSON.stringify(value)}\n`;
const lines = ['--input-format=stream-json'];
const asked = line({ type: 'user', message: { role: 'user', content: task } });

const ways: Readonly<Record<string, (turns: readonly Turn[], dir: string) => Promise<Way> | Way>> = {
  'labelled text': (turns) => ({
    args: [],
    stdin: `${turns.map(({ role, content }) => `<${role}>\n${JSON.stringify(content)}\n</${role}>`).join('\n\n')}\n\n${task}`,
  }),
  'a transcript that is resumed': async (turns, dir) => {
    const file = join(dir, `${sessionId}.jsonl`);
    await writeFile(file, transcript(turns, dir));
    return { args: [`--resume=${file}`], stdin: task };
  },
  'lines of stdin': (turns) => ({
    args: lines,
    stdin: `${turns.map((message) => line({ type: message.role, message })).join('')}${asked}`,
  }),
  'lines of stdin, shouldQuery: false': (turns) => ({
    args: lines,
    stdin: `${turns.map((message) => line({ type: message.role, message, shouldQuery: false })).join('')}${asked}`,
  }),
};

const api = await startMessagesApi();
try {
  for (const [what, turns] of Object.entries({ plain, withTool, odd })) {
    for (const [name, way] of Object.entries(ways)) await measure(`${what}: ${name}`, turns, way);
  }
} finally {
  await api.close();
}

async function measure(title: string, turns: readonly Turn[], way: (typeof ways)[string]): Promise<void> {
  const dir = await mkdtemp(join(tmpdir(), 'turns-'));
  try {
    for (const name of ['work', 'home', 'tmp']) await mkdir(join(dir, name));
    const { stdin, args } = await way(turns, dir);
    const seen = api.requests.length;
    const start = performance.now();
    const { code, stdout, stderr } = await run(dir, [...flags, ...args], stdin, api);
    const ms = performance.now() - start;
    const results = stdout.split('\n').filter((text) => text.includes('"type":"result"'));
    print(`\n== ${title}: exit ${code}, ${results.length} results, ${ms.toFixed(0)} ms ${stderr.trim().slice(0, 200)}`);
    if (results.some((text) => text.includes('"is_error":true'))) print(`   result: ${results.at(-1)?.slice(0, 300)}`);
    for (const { body } of api.requests.slice(seen)) show(body);
  } finally {
    await rm(dir, { recursive: true, force: true, maxRetries: 5 });
  }
}

function show(body: unknown): void {
  const messages = field(body, 'messages');
  if (!Array.isArray(messages)) return;
  print(
    `   request, ${JSON.stringify(body).length} bytes, system ${JSON.stringify(field(body, 'system')).length} bytes`,
  );
  for (const message of messages) {
    const text = JSON.stringify(field(message, 'content')).replace(/<system-reminder>.*?<\/system-reminder>/g, '[...]');
    print(`     ${String(field(message, 'role'))}: ${process.argv[2] === 'full' ? text : text.slice(0, 230)}`);
  }
}

/** In the form in which CLI 2.1.329 writes one. */
function transcript(turns: readonly Turn[], dir: string): string {
  let parentUuid: string | null = null;
  const common = { isSidechain: false, userType: 'external', cwd: join(dir, 'work'), sessionId, version: '2.1.329' };
  const rows = turns.map((message, index) => {
    const uuid = `5f0f8a4e-6a0b-4d55-9a8e-00000000000${index}`;
    const said =
      message.role === 'user'
        ? message
        : { id: `msg_${index}`, type: 'message', model: 'claude-sonnet-5-5', stop_reason: 'end_turn', ...message };
    const row = { parentUuid, ...common, type: message.role, message: said, uuid, timestamp: new Date().toISOString() };
    parentUuid = uuid;
    return line(row);
  });
  return rows.join('');
}

async function run(dir: string, args: readonly string[], stdin: string, { url }: MessagesApi) {
  const child = spawn(bin, args, {
    cwd: join(dir, 'work'),
    env: {
      PATH: `${dirname(process.execPath)}:/usr/local/bin:/usr/bin:/bin`,
      ...{ HOME: join(dir, 'home'), TMPDIR: join(dir, 'tmp'), CLAUDE_CODE_TMPDIR: join(dir, 'tmp'), LANG: 'C.UTF-8' },
      CLAUDE_CONFIG_DIR: join(dir, 'home', 'config'),
      ...{ CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC: '1', CLAUDE_CODE_DISABLE_BACKGROUND_TASKS: '1' },
      ...{ CLAUDE_CODE_DISABLE_ATTACHMENTS: '1', CLAUDE_CODE_MAX_RETRIES: '1', DISABLE_AUTOUPDATER: '1' },
      ...{ ANTHROPIC_API_KEY: 'dummy', ANTHROPIC_BASE_URL: url, IS_SANDBOX: '1' },
    },
    timeout: 60_000,
    killSignal: 'SIGKILL',
  });
  let [stdout, stderr] = ['', ''];
  child.stdout.setEncoding('utf8').on('data', (data: string) => (stdout += data));
  child.stderr.setEncoding('utf8').on('data', (data: string) => (stderr += data));
  child.stdin.on('error', () => undefined).end(stdin);
  await once(child, 'close');
  return { code: child.exitCode, stdout, stderr };
}
