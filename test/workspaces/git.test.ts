import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { createGit, type GitCall, redact } from '../../src/workspaces/git.ts';
import { createMutex } from '../../src/workspaces/mutex.ts';
import { createGitRepo, gitEnv } from '../helpers/git-repo.ts';
import { waitFor } from '../helpers/wait.ts';
import { cleanUpAfterEach, isAlive, temporaryDirectory, wrapGit } from './fixture.ts';

cleanUpAfterEach();

async function run(env: Readonly<Record<string, string>>, args: readonly string[], more: Partial<GitCall> = {}) {
  const cwd = await temporaryDirectory();
  const git = createGit({ env, safeDirectory: cwd, ceilings: [] });
  return await git({ cwd, args, timeoutMs: 20_000, ...more });
}

describe('git', () => {
  test('that takes too long is ended with everything it started, also what ignores signals', async () => {
    const { env, pids } = await wrapGit({
      fetch: `trap '' INT TERM HUP; sleep 600 & echo $! >>"$PIDS"; wait; wait; sleep 600`,
    });
    const error = await run(env, ['fetch'], { timeoutMs: 1_000 }).catch((reason: unknown) => reason);
    expect(error).toMatchObject({ name: 'GitError', failure: 'timeout' });
    const [pid = 0] = await pids();
    await waitFor(
      () => isAlive(pid),
      (alive) => !alive,
    );
  });

  test('that fails without a word has failed', async () => {
    const { env } = await wrapGit({ fetch: 'exit 3', status: 'kill -KILL $$' });
    await expect(run(env, ['fetch'])).rejects.toThrow('git ended with 3');
    await expect(run(env, ['status'])).rejects.toThrow(/137|Killed/);
  });

  test('sees only the environment that it is given, hardened', async () => {
    const { env } = await wrapGit({ fetch: 'env | sed "s/=.*//" | sort | tr "\\n" " "; exit 0' });
    const seen = (await run({ ...env, SSH_AUTH_SOCK: '/s', GIT_SSH_COMMAND: 'ssh -v' }, ['fetch'])).split(' ');
    const ours = ['GIT_ALLOW_PROTOCOL', 'GIT_CEILING_DIRECTORIES', 'GIT_CONFIG_GLOBAL', 'GIT_CONFIG_NOSYSTEM'];
    expect(seen).toEqual(expect.arrayContaining([...ours, 'GIT_TERMINAL_PROMPT', 'SSH_AUTH_SOCK', 'GIT_SSH_COMMAND']));
    const known = [...ours, 'GIT_TERMINAL_PROMPT', 'GIT_TEST_DISALLOW_ABBREVIATED_OPTIONS', 'LC_ALL'];
    const shell = ['PWD', 'OLDPWD', 'SHLVL', '_'];
    const given = ['PATH', 'HOME', 'SSH_AUTH_SOCK', 'GIT_SSH_COMMAND'];
    expect(seen.filter((name) => ![...known, ...shell, ...given].includes(name))).toEqual([]);
  });

  test('is not even started for a signal that has aborted', async () => {
    const { env, count } = await wrapGit();
    await expect(run(env, ['version'], { signal: AbortSignal.abort('gone') })).rejects.toBe('gone');
    expect(await count('version')).toBe(0);
  });

  test('reads a configuration of the operator only when it is named', async () => {
    const { env } = await wrapGit({ fetch: 'echo "$GIT_CONFIG_GLOBAL"; exit 0' });
    expect(await run(env, ['fetch'])).toBe('/dev/null');
    expect(await run({ ...env, GIT_CONFIG_GLOBAL: '/etc/hostname' }, ['fetch'])).toBe('/etc/hostname');
  });

  test('looks for a repository no higher than it may', async () => {
    const root = await temporaryDirectory();
    await createGitRepo(root, { 'inside/a.txt': 'a' });
    const call = { cwd: join(root, 'inside'), args: ['rev-parse', '--absolute-git-dir'], timeoutMs: 20_000 };
    const deps = { env: gitEnv, safeDirectory: root };
    expect(await createGit({ ...deps, ceilings: [] })(call)).toBe(join(root, '.git'));
    await expect(createGit({ ...deps, ceilings: [root] })(call)).rejects.toMatchObject({ failure: 'no_repository' });
  });

  test('answers what it printed', async () => {
    expect(await run(gitEnv, ['version'])).toMatch(/^git version /);
  });
});

test.each([
  ['fatal: https://user:pass@host/x', 'fatal: https://***@host/x'],
  ['ssh://token@host:22/x and https://a:b@c/d', 'ssh://***@host:22/x and https://***@c/d'],
  [`'https://u:p@ss@host/x'`, `'https://***@host/x'`],
  ['/tmp/a@b and git@host:x/y', '/tmp/a@b and git@host:x/y'],
])('the credentials in %j are not shown', (text, shown) => {
  expect(redact(text)).toBe(shown);
});

describe('a mutex', () => {
  test('runs as many at once as it has places, and the others in their order', async () => {
    const mutex = createMutex(2);
    const started: number[] = [];
    const gates = Array.from({ length: 5 }, () => Promise.withResolvers<void>());
    const all = gates.map((gate, n) =>
      mutex.run(() => {
        started.push(n);
        return gate.promise;
      }),
    );
    expect(started).toEqual([0, 1]);
    gates[1]?.resolve();
    await all[1];
    gates[0]?.resolve();
    await all[0];
    expect(started).toEqual([0, 1, 2, 3]);
    for (const gate of gates) gate.resolve();
    await Promise.all(all);
    expect(started).toEqual([0, 1, 2, 3, 4]);
  });

  test('passes its place on when the work fails, and forgets who gave up waiting', async () => {
    const mutex = createMutex();
    const gate = Promise.withResolvers<void>();
    const failing = mutex.run(() => gate.promise);
    const controller = new AbortController();
    const waiting = mutex.run(async () => 'never', controller.signal);
    const next = mutex.run(async () => 'next');
    controller.abort('gave up');
    await expect(waiting).rejects.toBe('gave up');
    gate.reject(new Error('failed'));
    await expect(failing).rejects.toThrow('failed');
    expect(await next).toBe('next');
    expect(await mutex.run(async () => 'free again')).toBe('free again');
  });
});
