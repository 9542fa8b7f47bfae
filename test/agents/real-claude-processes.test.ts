import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { chooseContainment, chooseNamespace, supervisorFile } from '../../src/process/choose-containment.ts';
import { createSupervisorContainment } from '../../src/process/supervisor-containment.ts';
import { type MessagesApi, startMessagesApi } from '../fixtures/messages-api.ts';
import { asRecord, isAlive } from '../helpers/service-process.ts';
import { waitFor } from '../helpers/wait.ts';
import { createRunnerFixture, type RunnerFixture, realClaude, type StartedRun } from './runner-fixture.ts';

/** The real CLI is a large program: starting it takes half a second of a core that others want, too. */
const timeoutMs = 120_000;
const readyMs = 60_000;
let api: MessagesApi;
let fixture: RunnerFixture;

beforeAll(async () => {
  api = await startMessagesApi();
  fixture = await createRunnerFixture({
    bin: { claude: realClaude },
    sourceEnv: { PATH: process.env['PATH'], ANTHROPIC_API_KEY: 'dummy', ANTHROPIC_BASE_URL: api.url },
    containment: createSupervisorContainment({ file: supervisorFile }),
  });
});

afterAll(async () => {
  await fixture[Symbol.asyncDispose]();
  await api.close();
});

/** A prompt whose Bash tool leaves two processes behind, a plain one and a daemon without environment, and then goes on. */
function prompt(name: string, then: string): string {
  const pid = (kind: string): string => join(fixture.workspacePath, `${name}.${kind}`);
  const plain = `sleep 300 >/dev/null 2>&1 & echo $! >${pid('plain')}`;
  const daemon = `(env -i /usr/bin/setsid /bin/sh -c 'echo $$ >${pid('daemon')}; exec /bin/sleep 300' >/dev/null 2>&1 &)`;
  const tool = JSON.stringify({ command: `${plain}; ${daemon}; ${then}` });
  return `say: Running.\ntool: Bash ${tool}\nsay: Done.`;
}

async function pidsOf(name: string): Promise<readonly number[]> {
  const read = async (kind: string): Promise<number> => {
    const text = () => readFile(join(fixture.workspacePath, `${name}.${kind}`), 'utf8').catch(() => '');
    return Number(
      await waitFor(text, (found) => found.endsWith('\n'), { timeoutMs: readyMs, what: `${name} ${kind}` }),
    );
  };
  return [await read('plain'), await read('daemon')];
}

async function killSupervisor(run: StartedRun): Promise<void> {
  const record = await readFile(join(fixture.runsDir, run.id, 'supervisor.json'), 'utf8');
  process.kill(Number(asRecord(JSON.parse(record))['keeper']), 'SIGKILL');
}

describe('the real CLI, shut in', { timeout: timeoutMs }, () => {
  test('works in its workspace, and leaves nobody', async () => {
    const supervisor = await chooseContainment();
    const containment = await chooseNamespace([], supervisor);
    if (typeof containment === 'string') throw new Error(containment);
    await using shut = await createRunnerFixture({
      bin: { claude: realClaude },
      sourceEnv: { PATH: process.env['PATH'], ANTHROPIC_API_KEY: 'dummy', ANTHROPIC_BASE_URL: api.url },
      containment,
    });
    const tool = JSON.stringify({ file_path: 'made.txt', content: 'inside\n' });
    const bash = JSON.stringify({ command: 'sleep 300 >/dev/null 2>&1 & ls /proc | grep -c "^[0-9]" >count.txt' });
    const outcome = await shut.run(`say: A.\ntool: Write ${tool}\ntool: Bash ${bash}\nsay: Done.`);
    expect(outcome).toMatchObject({
      status: 'completed',
      report: { containment: { level: 'namespace', survivors: 0 } },
    });
    expect(await readFile(join(shut.workspacePath, 'made.txt'), 'utf8')).toBe('inside\n');
    expect(Number(await readFile(join(shut.workspacePath, 'count.txt'), 'utf8'))).toBeLessThan(20);
  });
});

describe("what the real CLI's Bash tool started", { timeout: timeoutMs }, () => {
  test('is gone after a clean end', async () => {
    const run = fixture.start(prompt('clean', 'sleep 0.3'));
    const pids = await pidsOf('clean');
    const outcome = await run.outcome;
    expect(outcome).toMatchObject({ status: 'completed', report: { containment: { survivors: 0 } } });
    expect(outcome.report.containment?.killed).toBeGreaterThanOrEqual(1);
    for (const pid of pids) expect(await isAlive(pid)).toBe(false);
  });

  test('is gone after a cancel in the middle of a command', async () => {
    const run = fixture.start(prompt('cancel', 'sleep 60'));
    const pids = await pidsOf('cancel');
    run.end('cancelled');
    expect(await run.outcome).toMatchObject({ status: 'cancelled', report: { containment: { survivors: 0 } } });
    for (const pid of pids) expect(await isAlive(pid)).toBe(false);
  });

  test('is gone after SIGKILL of the supervisor', async () => {
    const run = fixture.start(prompt('killed', 'sleep 60'));
    const pids = await pidsOf('killed');
    await killSupervisor(run);
    expect(await run.outcome).toMatchObject({
      status: 'lost',
      reason: 'lost',
      report: { containment: { survivors: 0 } },
    });
    for (const pid of pids) expect(await isAlive(pid)).toBe(false);
  });
});
