import { availableParallelism } from 'node:os';
import { delimiter } from 'node:path';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import { simpleGit } from 'simple-git';

/** Which transports git may use: `local` only for our own base, or where the operator named a path as the remote. */
export type Transport = 'remote' | 'local';

export interface GitCall {
  readonly cwd: string;
  /** Constants of ours, paths made of checked ids, and names from the configuration: never what a caller sent. */
  readonly args: readonly string[];
  readonly transport?: Transport;
  readonly timeoutMs: number;
  readonly signal?: AbortSignal | undefined;
  /** Only for commands that start no other program: for them it takes one process less. */
  readonly alone?: Alone;
}

export interface Alone {
  /** What it reads from its standard input. */
  readonly input: string;
  /** Further stores to read objects from. */
  readonly objects: readonly string[];
}

/**
 * Runs git and answers its trimmed standard output. Rejects with `GitError` when it fails or takes too long, and with the
 * signal's reason when that aborts; whatever the end, git and all that it started are gone by then.
 */
export type Git = (call: GitCall) => Promise<string>;

export type GitFailure =
  | 'missing'
  | 'timeout'
  | 'no_answer'
  | 'credentials'
  | 'no_branch'
  | 'no_repository'
  | 'owner'
  | 'failed';

/** Why git failed. The message is the end of what git said, for the log: it may hold paths, but no credentials. */
export class GitError extends Error {
  readonly failure: GitFailure;
  constructor(failure: GitFailure, message: string) {
    super(message);
    this.name = 'GitError';
    this.failure = failure;
  }
}

const groupRunner = fileURLToPath(new URL('git-group.sh', import.meta.url));

/** More workers than this do not speed up the checkout of one clone: the directory locks of the file system take over. */
const maxCheckoutWorkers = 8;
/** The end of what git said: enough for its reason, and no flood in the log. */
const maxMessageLength = 2000;

const hardening = [
  // Nothing in a repository may name a program to run.
  'core.hooksPath=/dev/null',
  'core.fsmonitor=false',
  'submodule.recurse=false',
  // A collection under way would remove packs that a clone is copying.
  'gc.auto=0',
  'maintenance.auto=false',
  // A fetch adds one pack, not up to a hundred files that each clone then copies one by one.
  'fetch.unpackLimit=1',
  'advice.detachedHead=false',
  // What copies a clone knows this form.
  'index.version=2',
  `checkout.workers=${Math.min(availableParallelism(), maxCheckoutWorkers)}`,
];

export interface GitDeps {
  /** What git sees of the environment. */
  readonly env: Readonly<Record<string, string>>;
  /** May belong to another user than the service. */
  readonly safeDirectory: string;
  /** Directories with our repositories in them: git looks for a repository no higher than there. */
  readonly ceilings: readonly string[];
  /** For work that nobody waits for. */
  readonly lowPriority?: boolean;
  /** Further settings, stronger than those of any file. */
  readonly config?: readonly string[];
}

/** Makes the one hardened way to run git. */
export function createGit(deps: GitDeps): Git {
  const config = [...hardening, `safe.directory=${deps.safeDirectory}`, ...(deps.config ?? [])];
  const ceilings = {
    GIT_CEILING_DIRECTORIES: deps.ceilings.join(delimiter),
    ...(deps.lowPriority === true && { GROUP_NICE: '19' }),
  };
  return async ({ cwd, args, transport = 'remote', timeoutMs, signal, alone }) => {
    signal?.throwIfAborted();
    const timeout = AbortSignal.timeout(timeoutMs);
    const env = { ...hardenedEnv(deps.env, transport), ...ceilings };
    try {
      if (alone !== undefined) {
        const settings = config.flatMap((one) => ['-c', one]);
        const abort = signal === undefined ? timeout : AbortSignal.any([signal, timeout]);
        return await runAlone(['git', ...settings, ...args], { ...alone, cwd, env, abort });
      }
      const git = simpleGit({
        baseDir: cwd,
        binary: ['/bin/sh', groupRunner],
        abort: signal === undefined ? timeout : AbortSignal.any([signal, timeout]),
        config,
        trimmed: true,
        allowEnvironment: Object.keys(env),
        unsafe: permitted(env),
        // By itself it takes a failure without words, such as the end by a signal, for success.
        errors: (error, { exitCode }) =>
          error ?? (exitCode === 0 ? undefined : new Error(`git ended with ${exitCode}`)),
      });
      return (await git.env(env).raw([...args])).trim();
    } catch (error) {
      signal?.throwIfAborted();
      if (timeout.aborted)
        throw new GitError('timeout', `git ${args.slice(0, 3).join(' ')} did not end in ${timeoutMs} ms`);
      // The original carries the command, and so the remote with its credentials: only the text goes on.
      throw gitError(error);
    }
  };
}

interface Run extends Alone {
  readonly cwd: string;
  readonly env: Readonly<Record<string, string>>;
  readonly abort: AbortSignal;
}

/** Not in a group of its own: there is no other process to end with it. */
async function runAlone(command: readonly string[], { cwd, env, input, objects, abort }: Run): Promise<string> {
  const nice = env['GROUP_NICE'] === undefined ? [] : ['nice', '-n', env['GROUP_NICE']];
  const [program = '', ...args] = [...nice, ...command];
  // Quoted as git reads it, so that a colon in a path separates nothing.
  const alternates = { GIT_ALTERNATE_OBJECT_DIRECTORIES: objects.map((one) => JSON.stringify(one)).join(':') };
  const how = { cwd, env: { ...env, ...alternates }, extendEnv: false, input, killSignal: 'SIGKILL' } as const;
  const { stdout } = await execa(program, args, { ...how, cancelSignal: abort });
  return stdout.trim();
}

/** The environment that git, and programs that run git for us, see. */
export function hardenedEnv(gitEnv: Readonly<Record<string, string>>, transport: Transport): Record<string, string> {
  return {
    GIT_CONFIG_GLOBAL: '/dev/null',
    ...gitEnv,
    GIT_CONFIG_NOSYSTEM: '1',
    GIT_TERMINAL_PROMPT: '0',
    LC_ALL: 'C',
    GIT_ALLOW_PROTOCOL: transport === 'local' ? 'file' : 'https:http:ssh:git',
  };
}

/** `//user:password@host` without the user and the password. */
export function redact(text: string): string {
  return text.replace(/\/\/[^\s/]*@/g, '//***@');
}

/**
 * simple-git's guard refuses by name, also what hardens: each exception is for a constant of ours, or for a variable that the
 * operator gave to git.
 */
function permitted(env: Readonly<Record<string, string>>) {
  return {
    allowUnsafeCustomBinary: true, // The group runner's path, wherever the service is installed.
    allowUnsafeConfigPaths: true, // GIT_CONFIG_GLOBAL=/dev/null.
    allowUnsafeHooksPath: true, // core.hooksPath=/dev/null.
    allowUnsafeFsMonitor: true, // core.fsmonitor=false.
    allowUnsafeTemplateDir: true, // --template= (none).
    allowUnsafeFilter: true, // filter.lfs.process= and the like (none).
    allowUnsafeSshCommand: 'GIT_SSH_COMMAND' in env || 'GIT_SSH' in env,
    allowUnsafeAskPass: 'GIT_ASKPASS' in env || 'SSH_ASKPASS' in env,
    allowUnsafeGitProxy: 'GIT_PROXY_COMMAND' in env,
  };
}

const failurePatterns: readonly (readonly [GitFailure, RegExp])[] = [
  ['missing', /(git: not found|failed to execute git|command not found)/],
  ['owner', /dubious ownership/],
  [
    'credentials',
    /(Authentication failed|Permission denied \(|could not read (Username|Password)|Host key verification|error: 40[13])/,
  ],
  ['no_branch', /(Remote branch .* not found|couldn't find remote ref)/],
  [
    'no_repository',
    /(repository .* (not found|does not exist)|not appear to be a git repository|not a git repository)/i,
  ],
  [
    'no_answer',
    /(unable to access|Could not resolve|Connection (refused|timed out|reset|closed)|Could not read from remote)/,
  ],
];

function gitError(error: unknown): GitError {
  const text = error instanceof Error ? error.message : String(error);
  const failure = failurePatterns.find(([, pattern]) => pattern.test(text))?.[0] ?? 'failed';
  return new GitError(failure, redact(text).slice(-maxMessageLength));
}
