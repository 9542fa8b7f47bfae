// How soon a chat call reaches the model: an agent that waits against one that is started for the call, in turns, with the real
// claude CLI and a stand-in for the model's API. node bench/warm-agents.ts [CALLS]
import { setTimeout as delay } from 'node:timers/promises';
import { type MessagesApi, startMessagesApi } from '../test/fixtures/messages-api.ts';
import { realClaude } from '../test/fixtures/run-agent.ts';
import { print, quantile, row, timed } from './figures.ts';
import { headers, type RunningService, startService } from './running-service.ts';

const calls = Number(process.argv[2] ?? 20);
/** After its start an agent needs about half a second to its prompt; then nothing but the call itself is measured. */
const settleMs = 1_500;

interface Times {
  readonly request: number;
  readonly end: number;
}

const api = await startMessagesApi();
const settings = { CLAUDE_BIN: realClaude, ANTHROPIC_BASE_URL: api.url };
try {
  await using cold = await startService(settings);
  await using warm = await startService({ ...settings, WARM_AGENTS: '1' });
  const [colds, warms]: [Times[], Times[]] = [[], []];
  for (let n = -1; n < calls; n += 1) {
    await waiting(warm);
    const pair = [await ask(cold, api, n), await ask(warm, api, n)] as const;
    if (n < 0) continue;
    colds.push(pair[0]);
    warms.push(pair[1]);
  }
  print(`${calls} chat calls in turns, ms`);
  for (const share of [0.5, 0.95]) {
    for (const key of ['request', 'end'] as const) {
      const [ours, baseline] = [warms, colds].map((times) =>
        quantile(
          times.map((time) => time[key]),
          share,
        ),
      );
      row(
        `call -> ${key === 'request' ? 'model called' : 'answer'}, p${share * 100}: warm, cold`,
        ours ?? 0,
        baseline ?? 0,
        'ms',
      );
    }
  }
} finally {
  await api.close();
}

async function waiting({ url }: RunningService): Promise<void> {
  for (;;) {
    const text = await (await fetch(`${url}/metrics`, { headers })).text();
    if (/^agent_warm_agents 1$/m.test(text)) break;
    await delay(50);
  }
  await delay(settleMs);
}

async function ask({ url }: RunningService, { requests }: MessagesApi, n: number): Promise<Times> {
  const before = requests.length;
  const start = performance.now();
  const body = JSON.stringify({ messages: [{ role: 'user', content: `call ${n}\nsay: hello` }] });
  const answer = timed(async () => {
    const response = await fetch(`${url}/v1/chat/completions`, { method: 'POST', headers, body });
    if (!(await response.text()).includes('hello')) throw new Error('no answer');
  });
  while (!requests.slice(before).some(({ method }) => method === 'POST')) await delay(1);
  return { request: performance.now() - start, end: await answer };
}
