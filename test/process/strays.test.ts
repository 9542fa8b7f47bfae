import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { expect, onTestFinished, test } from 'vitest';
import { killStrays } from '../../src/process/strays.ts';

/** Nobody else's: other tests run at the same time. */
const variable = `TEST_MARK_${process.pid}`;

test('ends every process that carries one of the marks, wherever it went, and no other', async () => {
  const marked = [await start({ [variable]: 'a' }), await start({ [variable]: 'b', OTHER: 'x' })];
  const others = [await start({ [variable]: 'ab' }), await start({ OTHER: `${variable}=a` }), await start({})];
  const ends = marked.map((child) => once(child, 'exit'));
  expect(await killStrays({ session: null, marks: [`${variable}=a`, `${variable}=b`] })).toBe(2);
  for (const end of ends) expect(await end).toEqual([null, 'SIGKILL']);
  expect(others.map(({ exitCode, signalCode }) => exitCode ?? signalCode)).toEqual([null, null, null]);
});

test('finds nothing where there is nothing, or nothing is asked for', async () => {
  expect(await killStrays({ session: null, marks: [`${variable}=nobody`] })).toBe(0);
  expect(await killStrays({ session: null, marks: [] })).toBe(0);
});

/** In a session of its own, deaf to everything that can be ignored. */
async function start(env: Readonly<Record<string, string>>): Promise<ChildProcess> {
  const script = "trap '' TERM INT HUP; echo ready; exec /bin/sleep 60";
  const child = spawn('/bin/sh', ['-c', script], { env, detached: true, stdio: ['ignore', 'pipe', 'ignore'] });
  onTestFinished(() => void child.kill('SIGKILL'));
  await once(child.stdout, 'data');
  return child;
}
