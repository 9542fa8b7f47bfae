import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, copyFile, mkdtemp, open, readFile, rm, writeFile } from 'node:fs/promises';
import { Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { supervisorFile } from '../../src/process/choose-containment.ts';
import { buildUnprivileged, buildZoo, isReady, kinds, survivors } from '../fixtures/zoo/zoo.ts';
import { asRecord } from '../helpers/service-process.ts';
import { waitFor } from '../helpers/wait.ts';

// An ordinary user under a filter as in a default pod: where namespaces cannot be had, the supervisor must do.

const run = promisify(execFile);
let dir: string;
let wrapper: string;
const file = (name: string): string => join(dir, name);

beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'unprivileged-'));
  // The other user works in here, and reaches no checkout of ours.
  await chmod(dir, 0o777);
  await copyFile(supervisorFile, file('supervise'));
  await buildZoo(dir);
  wrapper = await buildUnprivileged(dir);
});

afterAll(() => rm(dir, { recursive: true }));

/** Starts an animal under a supervisor, both as the ordinary user under the filter. */
async function start(name: string, mode: string, ...settings: readonly string[]): Promise<ChildProcess> {
  const [kind = ''] = name.split('.');
  await writeFile(file(`${name}.stdin`), `${kind} ${file(name)} ${mode}\n`);
  const stdin = await open(file(`${name}.stdin`), 'r');
  const paths = [`exit=${file(`${name}.exit`)}`, `record=${file(`${name}.record`)}`, `cwd=${dir}`];
  const args = [file('supervise'), 'control=3', 'term-ms=100', 'kill-ms=200', ...settings, ...paths, '--', file('zoo')];
  const child = spawn(wrapper, args, { env: { PATH: '/usr/bin:/bin' }, stdio: [stdin.fd, 'ignore', 'ignore', 'pipe'] });
  await stdin.close();
  // Read, so that it closes when the supervisor has said its last.
  const control = child.stdio[3];
  if (control instanceof Socket) control.resume();
  await waitFor(() => isReady(file(name)), Boolean, { what: `${name} to be ready` });
  return child;
}

const json = async (name: string) => asRecord(JSON.parse(await readFile(file(name), 'utf8')));

describe('the filter', () => {
  test('lets nobody make a namespace, so that nothing below can be due to one', async () => {
    await expect(run(wrapper, ['/usr/bin/unshare', '--user', '/bin/true'])).rejects.toThrow('Operation not permitted');
    await expect(run(wrapper, ['/usr/bin/unshare', '--pid', '--fork', '/bin/true'])).rejects.toThrow('not permitted');
    expect((await run(wrapper, ['/usr/bin/id', '--user'])).stdout).not.toBe('0\n');
  });

  test('lets the supervisor pass its own test', async () => {
    expect((await run(wrapper, [file('supervise'), 'self-test'])).stdout).toBe('supervise 2\n');
  });
});

describe.each(kinds)('under it, of the zoo that does "%s" nobody is left', (kind) => {
  test('after a clean end', async () => {
    const child = await start(`${kind}.clean`, 'leave');
    if (child.exitCode === null) await once(child, 'exit');
    expect(await json(`${kind}.clean.exit`)).toMatchObject({ exit_code: 0, ended_by: null, survivors: 0 });
    expect(await survivors(file(`${kind}.clean`))).toEqual([]);
  });

  test('after a timeout', async () => {
    const child = await start(`${kind}.timeout`, 'stay', 'timeout-ms=500');
    if (child.exitCode === null) await once(child, 'exit');
    expect(await json(`${kind}.timeout.exit`)).toMatchObject({ ended_by: 'timeout', survivors: 0 });
    expect(await survivors(file(`${kind}.timeout`))).toEqual([]);
  });

  test('after the service is gone', async () => {
    const child = await start(`${kind}.gone`, 'stay');
    child.stdio[3]?.destroy();
    await once(child, 'exit');
    expect(await json(`${kind}.gone.exit`)).toMatchObject({ ended_by: 'service_gone', survivors: 0 });
    expect(await survivors(file(`${kind}.gone`))).toEqual([]);
  });

  // What a cancel, a caller who hangs up and SIGTERM of the service come to.
  test('after it was told to end', async () => {
    const child = await start(`${kind}.told`, 'stay');
    const line = child.stdio[3];
    if (!(line instanceof Socket)) throw new Error('there is no line to the supervisor');
    line.write('e');
    await once(child, 'exit');
    expect(await json(`${kind}.told.exit`)).toMatchObject({ ended_by: 'request', survivors: 0 });
    expect(await survivors(file(`${kind}.told`))).toEqual([]);
  });

  test('after SIGKILL of the keeper', async () => {
    const child = await start(`${kind}.killed`, 'stay');
    process.kill(Number((await json(`${kind}.killed.record`))['keeper']), 'SIGKILL');
    await once(child, 'exit');
    expect(await json(`${kind}.killed.exit`)).toMatchObject({ ended_by: 'supervisor_killed', survivors: 0 });
    expect(await survivors(file(`${kind}.killed`))).toEqual([]);
  });
});
