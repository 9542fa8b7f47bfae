import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import OpenAI from 'openai';
import { startMessagesApi } from '../fixtures/messages-api.ts';
import { createGitRepo } from '../helpers/git-repo.ts';

/**
 * The main job, for real and offline: a sample repository, the service on its defaults, the real `claude` CLI. Only the model is
 * a stand-in, on loopback: it answers what the prompt tells it to.
 */

const root = join(import.meta.dirname, '..', '..');
const token = randomBytes(16).toString('hex');
/** What a start takes on a busy machine, many times over. */
const startMs = 60_000;
/** Of an event: the rest does not fit a terminal. */
const shownCharacters = 110;

const identity = 'git -c user.name=agent -c user.email=agent@example.com';
const jobPrompt = `Greet the agents in greeting.txt, commit it, and leave a note.
tool: Bash {"command": "printf 'Hello, agents!\\\\n' >> greeting.txt && ${identity} commit -qam 'Greet agents'", "description": "edit and commit"}
tool: Write {"file_path": "NOTES.md", "content": "Greeted.\\n"}
say: I greeted the agents, and left a note.`;
const chatPrompt = `What is in greeting.txt?
tool: Read {"file_path": "greeting.txt"}
delta-ms: 40
say: It holds one line: Hello, world!`;

const dir = await mkdtemp(join(tmpdir(), 'agent-service-demo-'));
const api = await startMessagesApi();
try {
  title('A sample repository');
  const sample = await createGitRepo(join(dir, 'sample'), { 'greeting.txt': 'Hello, world!\n' });
  print(await sample.git('log', '--oneline', '--stat'));
  const service = await startService(sample.path);
  try {
    await demonstrate(service.url);
  } finally {
    title('The end');
    print(`the service exits with ${await service.stop()}`);
  }
} finally {
  await api.close();
  await rm(dir, { recursive: true, force: true });
}

async function demonstrate(url: string): Promise<void> {
  title('POST /execute: a job for the claude CLI, in a clone of its own');
  const accepted = await call(url, '/execute', { method: 'POST', body: JSON.stringify({ prompt: jobPrompt }) });
  print(JSON.stringify(accepted));
  const path = `/jobs/${String(accepted['job_id'])}`;

  title(`GET ${path}/events`);
  await showEvents(url, `${path}/events`);

  title(`GET ${path}`);
  const job = await call(url, path);
  const { status, reason, result, cost_usd, num_turns, changes, containment } = job;
  print(JSON.stringify({ status, reason, result, cost_usd, num_turns, changes, containment }, null, 2));
  if (status !== 'completed') throw new Error(`the job ended as ${String(status)}: ${String(job['error'])}`);

  title(`GET ${path}/diff`);
  print(await (await request(url, `${path}/diff`)).text());

  title('The OpenAI SDK, streamed');
  const client = new OpenAI({ apiKey: token, baseURL: `${url}/v1` });
  const stream = await client.chat.completions.create({
    model: 'sonnet',
    messages: [{ role: 'user', content: chatPrompt }],
    stream: true,
    stream_options: { include_usage: true },
  });
  for await (const chunk of stream) {
    process.stdout.write(chunk.choices[0]?.delta.content ?? '');
    if (chunk.usage) print(`\n${JSON.stringify(chunk.usage)}`);
  }
}

async function startService(baseRepo: string) {
  title('The service');
  const child = spawn(process.execPath, [join(root, 'src', 'main.ts')], {
    // An environment of its own: no credential of the machine gets into the demo.
    env: {
      PATH: `${join(root, 'node_modules', '.bin')}:${process.env['PATH'] ?? '/usr/bin:/bin'}`,
      HOME: dir,
      PORT: '0',
      DATA_DIR: join(dir, 'data'),
      BASE_REPO_URL: baseRepo,
      API_BEARER_TOKEN: token,
      ANTHROPIC_BASE_URL: api.url,
      ANTHROPIC_API_KEY: 'offline',
    },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const exit = once(child, 'exit');
  let output = '';
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => (output += chunk));
  const deadline = Date.now() + startMs;
  for (;;) {
    const url = /"url":"([^"]+)".*"msg":"listening"/.exec(output)?.[1];
    if (url !== undefined && (await fetch(`${url}/readyz`)).ok) {
      print(`listens on ${url}`);
      return { url, stop: () => stop(child, exit) };
    }
    if (child.exitCode !== null || Date.now() > deadline) {
      child.kill('SIGKILL');
      throw new Error(`the service did not start: ${output}`);
    }
    await delay(50);
  }
}

async function stop(child: ReturnType<typeof spawn>, exit: Promise<unknown[]>): Promise<string> {
  child.kill('SIGTERM');
  await exit;
  return String(child.exitCode ?? child.signalCode);
}

/** One line per event, as it comes. */
async function showEvents(url: string, path: string): Promise<void> {
  const { body } = await request(url, `${path}?deltas=0`);
  if (body === null) throw new Error('no events');
  let text = '';
  for await (const chunk of body.pipeThrough(new TextDecoderStream())) {
    const frames = (text + chunk).split('\n\n');
    text = frames.pop() ?? '';
    for (const frame of frames) {
      const [, id, type, data = ''] = /^id: (\d+)\nevent: (\w+)\ndata: (.*)$/m.exec(frame) ?? [];
      if (id !== undefined) print(`${id.padStart(3)} ${(type ?? '').padEnd(7)} ${data.slice(0, shownCharacters)}`);
    }
  }
}

async function request(url: string, path: string, init: RequestInit = {}): Promise<Response> {
  const headers = { authorization: `Bearer ${token}`, 'content-type': 'application/json' };
  return await fetch(`${url}${path}`, { ...init, headers });
}

async function call(url: string, path: string, init: RequestInit = {}): Promise<Record<string, unknown>> {
  const response = await request(url, path, init);
  const body: unknown = await response.json();
  if (!response.ok || typeof body !== 'object' || body === null) throw new Error(JSON.stringify(body));
  return { ...body };
}

function title(text: string): void {
  print(`\n── ${text}`);
}

function print(text: string): void {
  process.stdout.write(`${text.trimEnd()}\n`);
}
