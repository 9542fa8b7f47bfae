// What a streamed chat call costs beyond its agent: the whole service against the same fake agent, run alone.
// node bench/chat-overhead.ts [CALLS]
import { spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const root = join(import.meta.dirname, '..');
const agent = join(root, 'test', 'fixtures', 'agents', 'fake-claude.mjs');
const token = 'bench-token';
const calls = Number(process.argv[2] ?? 20);
/** Ten pieces, 50 ms apart: long enough that a piece which is late shows. */
const prompt = `delta-ms: 50\nsay: ${'x'.repeat(120)}`;
const agentFlags = ['-p', '--output-format=stream-json', '--verbose', '--include-partial-messages'];

interface Times {
  readonly headers: number;
  readonly firstDelta: number;
  readonly lastDelta: number;
  readonly end: number;
}

const dir = await mkdtemp(join(tmpdir(), 'bench-'));
const path = `${join(process.execPath, '..')}:/usr/local/bin:/usr/bin:/bin`;
const env = { PATH: path, HOME: dir, DATA_DIR: join(dir, 'data'), HOST: '127.0.0.1', PORT: '0' };
const service = spawn(process.execPath, [join(root, 'src', 'main.ts')], {
  env: { ...env, API_BEARER_TOKEN: token, CLAUDE_BIN: agent, ANTHROPIC_API_KEY: 'dummy' },
  stdio: ['ignore', 'pipe', 'inherit'],
});
try {
  const url = await listening();
  const [alone, served]: [Times[], Times[]] = [[], []];
  // In turns, so that whatever else the machine does falls on both.
  for (let n = -2; n < calls; n += 1) {
    const pair = [await runAlone(), await callService(url)] as const;
    if (n < 0) continue;
    alone.push(pair[0]);
    served.push(pair[1]);
  }
  report(alone, served);
} finally {
  service.kill('SIGKILL');
  await rm(dir, { recursive: true, force: true, maxRetries: 5 });
}

async function listening(): Promise<string> {
  let output = '';
  for await (const chunk of service.stdout.setEncoding('utf8')) {
    output += String(chunk);
    const url = /"url":"([^"]+)"/.exec(output)?.[1];
    if (url !== undefined && output.includes('"msg":"ready"')) {
      service.stdout.resume();
      return url;
    }
  }
  throw new Error('the service did not start');
}

async function runAlone(): Promise<Times> {
  const start = performance.now();
  const child = spawn(agent, agentFlags, {
    cwd: dir,
    env: { PATH: path, HOME: dir },
    stdio: ['pipe', 'pipe', 'ignore'],
  });
  child.stdin.end(prompt);
  return await timesOf(child.stdout, 0, start);
}

async function callService(url: string): Promise<Times> {
  const start = performance.now();
  const response = await fetch(`${url}/v1/chat/completions`, {
    method: 'POST',
    headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json', 'cache-control': 'no-cache' },
    body: JSON.stringify({ model: 'sonnet', stream: true, messages: [{ role: 'user', content: prompt }] }),
  });
  const headers = performance.now() - start;
  if (response.body === null) throw new Error('no stream');
  return await timesOf(response.body, headers, start);
}

async function timesOf(stream: AsyncIterable<Uint8Array>, headers: number, start: number): Promise<Times> {
  const seen: number[] = [];
  for await (const chunk of stream) {
    const text = Buffer.from(chunk).toString('utf8');
    if (/"text_delta"|"content":"x/.test(text)) seen.push(performance.now() - start);
  }
  return { headers, firstDelta: seen[0] ?? 0, lastDelta: seen.at(-1) ?? 0, end: performance.now() - start };
}

function report(alone: readonly Times[], served: readonly Times[]): void {
  const at = (all: readonly Times[], key: keyof Times, p: number): number =>
    all.map((times) => times[key]).toSorted((a, b) => a - b)[Math.floor((all.length - 1) * p)] ?? 0;
  const line = (key: keyof Times): string => {
    const [a, s] = [at(alone, key, 0.5), at(served, key, 0.5)].map((ms) => ms.toFixed(1).padStart(8));
    const more = (at(served, key, 0.5) - at(alone, key, 0.5)).toFixed(1).padStart(8);
    return `${key.padEnd(11)} alone ${a} ms   served ${s} ms   more ${more} ms   served p95 ${at(served, key, 0.95).toFixed(1)} ms`;
  };
  const text = (['headers', 'firstDelta', 'lastDelta', 'end'] as const).map(line).join('\n');
  process.stdout.write(`${calls} calls in turns, medians:\n${text}\n`);
}
