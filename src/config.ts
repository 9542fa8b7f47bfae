import { z } from 'zod';

/** The service's settings: one schema, read once from the environment. Each default stands beside its reason. */

/** A day: nothing here waits or runs longer. */
const maxSeconds = 86_400;

function integer(min: number, max: number) {
  const allowed = `a whole number from ${min} to ${max}`;
  return z
    .string()
    .regex(/^\d{1,15}$/, allowed)
    .transform(Number)
    .refine((value) => value >= min && value <= max, allowed);
}

function usd() {
  const allowed = 'a decimal number greater than 0 and at most 1000';
  return z
    .string()
    .regex(/^\d{1,4}(\.\d{1,6})?$/, allowed)
    .transform(Number)
    .refine((value) => value > 0 && value <= 1000, allowed);
}

const switchedOn = z
  .string()
  .regex(/^(true|false)$/, 'true or false')
  .transform((text) => text === 'true');

const path = z.string().min(1, 'a path').refine(noNul, 'a path without NUL');
/** Empty is the same as absent, so that `${X:-}` in a compose file means none. */
const optionalText = z
  .string()
  .refine(noNul, 'text without NUL')
  .transform((text) => (text === '' ? null : text))
  .nullable();
const safeName = /^[A-Za-z0-9][A-Za-z0-9_.:-]{0,63}$/;
const names = z
  .string()
  .transform((text) => text.split(',').map((name) => name.trim()))
  .refine(
    (list) => list.every((name) => safeName.test(name)),
    'names separated by commas, each like claude-sonnet-4-6',
  );
const variableNames = z
  .string()
  .transform((text) => text.split(',').flatMap((name) => name.trim() || []))
  .refine(
    (list) => list.every((name) => /^[A-Za-z_][A-Za-z0-9_]*$/.test(name)),
    'names of variables separated by commas',
  );
const token = z
  .string()
  .regex(/^[A-Za-z0-9\-._~+/]{1,4096}=*$/, 'at least one character of A-Z a-z 0-9 - . _ ~ + / and trailing =');
const branch = /^(?![-/.])(?!.*(?:\.\.|\/\/|@\{|\.lock$|[/.]$))[A-Za-z0-9_./-]{1,200}$/;

const defaultModels = 'haiku,sonnet,opus,claude-haiku-4-5,claude-sonnet-4-6,claude-opus-4-7';

export const ConfigSchema = z
  .object({
    API_BEARER_TOKEN: token
      .optional()
      .describe(
        'The token that callers send. None anywhere: the first start makes one, stores only its hash, and prints it once',
      ),
    API_BEARER_TOKEN_FILE: path
      .optional()
      .describe('A file with the token, one per line: two lines let a token be changed without a pause'),
    HOST: z
      .string()
      .regex(/^[A-Za-z0-9.:_-]{1,255}$/, 'a host name or an address')
      .default('127.0.0.1')
      .describe('Where to listen; the image sets 0.0.0.0'),
    PORT: integer(0, 65_535).prefault('8080').describe('The port; 0 takes a free one'),
    DATA_DIR: path.default('./data').describe('The store and the job logs; made if absent'),
    WORKSPACE_DIR: path
      .optional()
      .describe('The warm base clone. Absent and no BASE_REPO_URL: an empty repository is made'),
    BASE_REPO_URL: optionalText
      .refine(
        (url) => url === null || /^(?!-)(?!.*::)[^\s]{1,2000}$/.test(url),
        'the URL or the path of a git repository',
      )
      .default(null)
      .describe('Cloned into WORKSPACE_DIR at start if that is absent'),
    BASE_BRANCH: optionalText
      .refine((name) => name === null || branch.test(name), 'the name of a branch')
      .default(null)
      .describe("The branch that the base follows; none: the remote's HEAD"),
    JOBS_DIR: path
      .optional()
      .describe('One workspace per living job; on the file system of WORKSPACE_DIR, so that a clone stays cheap'),
    POOL_SIZE: integer(0, 1000)
      .prefault('4')
      .describe(
        'Clones kept ready for the next jobs, more for a minute after many at once: each takes the disk of a work tree and its history; 0 keeps none',
      ),
    MIN_FREE_DISK_BYTES: integer(0, 999_999_999_999_999)
      .prefault('67108864')
      .describe(
        'Below this much free space no job is admitted: running ones and the store still need some; 0: no floor',
      ),
    MAX_WORKSPACE_BYTES: integer(0, 999_999_999_999_999)
      .prefault('68719476736')
      .describe(
        'What one job may take on disk, its clone and log included; over it, it is ended (`disk_limit`). The default is what one file may have: it stops a runaway. 0: no limit',
      ),
    MAX_PROMPT_BYTES: integer(1, 10_485_760)
      .prefault('4194304')
      .describe('Longest prompt; the CLI itself takes up to 10 MiB'),
    GIT_CRYPT_KEY: optionalText.prefault('/secrets/git-crypt/key').describe('Unlocks each clone if the file exists'),
    SUBMODULES: switchedOn
      .prefault('false')
      .describe(
        'Whether workspaces hold the submodules of the base. Off by default, for whoever can commit chooses where they are fetched from (https, ssh, git)',
      ),
    LFS: switchedOn
      .prefault('false')
      .describe(
        "Whether workspaces hold the content of LFS files, from the base's own remote; needs git-lfs. Off by default, for each workspace then takes that much more disk",
      ),
    MAX_CONCURRENCY: integer(1, 1000).prefault('10').describe('Jobs that run at once'),
    MAX_QUEUE_DEPTH: integer(1, 1_000_000).prefault('100').describe('Jobs that are queued or running, together'),
    JOB_TTL_SECONDS: integer(1, 31_536_000)
      .prefault('3600')
      .describe('How long a final job, its log and its output are kept'),
    FOLLOW_UP_TTL_SECONDS: integer(1, 31_536_000)
      .prefault('604800')
      .describe(
        'How long at most a final job is kept whose caller asked for a follow-up and has not acknowledged it; a week',
      ),
    FETCH_DEBOUNCE_SECONDS: integer(0, maxSeconds)
      .prefault('15')
      .describe('A burst of jobs shares one fetch of the base'),
    CLAUDE_BIN: path.default('claude').describe('The claude CLI: a name on PATH or a path'),
    SUPPORTED_MODELS: names.prefault(defaultModels).describe('The models of /v1: aliases and full names'),
    DEFAULT_MODEL: z
      .string()
      .regex(safeName, 'the name of a model')
      .default('sonnet')
      .describe('The model where a /v1 request names none'),
    OPENAI_COMPAT_AGENT: optionalText
      .refine((name) => name === null || safeName.test(name), 'the name of an agent')
      .default(null)
      .describe('The agent that answers /v1'),
    OPENAI_COMPAT_BUDGET_USD: usd().prefault('2.0').describe('What one /v1 call may spend'),
    OPENAI_COMPAT_TIMEOUT_SECONDS: integer(1, maxSeconds).prefault('900').describe('How long one /v1 call may run'),
    KILL_GRACE_SECONDS: integer(0, 600)
      .prefault('5')
      .describe('From the first signal to KILL, for the whole process tree'),
    ISOLATION: z
      .enum(['none', 'namespace'], 'none or namespace')
      .default('none')
      .describe(
        "What shuts an agent in. namespace: bubblewrap; it sees no process but its own, not the service's data, and can write only in its workspace. Where that does not work the start is refused; none works everywhere",
      ),
    RESTART_POLICY: z
      .enum(['kill', 'adopt'], 'kill or adopt')
      .default('kill')
      .describe(
        'What becomes of running jobs when the service ends, also by a crash. kill: they end with it, as nothing outlives a container. adopt: they go on and the next start takes them over; for a plain host',
      ),
    WARM_AGENTS: integer(0, 100)
      .prefault('0')
      .describe(
        'Agents kept started, each in a clone of its own, for /v1 calls with the default model and effort: these reach it sooner. 160 MB of memory each; 0 keeps none',
      ),
    IDLE_TIMEOUT_SECONDS: integer(0, maxSeconds)
      .prefault('0')
      .describe(
        'How long an agent may print nothing, where its job does not say; 0 is as long as it likes, for an agent is silent while a long command of its runs',
      ),
    DRAIN_SECONDS: integer(0, maxSeconds)
      .prefault('2820')
      .describe('How long SIGTERM waits for running jobs; the default is the longest default run and two minutes'),
    MAX_OUTPUT_BYTES: integer(1024, 1_099_511_627_776)
      .prefault('1073741824')
      .describe('What one run may write to its standard output and error together'),
    WEBHOOK_SECRET: optionalText
      .refine(
        (text) => text === null || /^whsec_[A-Za-z0-9+/]{32,88}={0,2}$/.test(text),
        'whsec_ and 24 to 64 bytes in base64',
      )
      .default(null)
      .describe('Signs webhooks (Standard Webhooks). None: requests that ask for a webhook are refused'),
    WEBHOOK_URL: optionalText
      .refine((text) => text === null || /^https?:\/\/[^\s]{1,2000}$/.test(text), 'an https URL')
      .default(null)
      .describe('Told of the end of every job of /execute; needs WEBHOOK_SECRET'),
    WEBHOOK_ALLOWED_HOSTS: z
      .string()
      .transform((text) => text.split(',').flatMap((name) => name.trim().toLowerCase() || []))
      .prefault('')
      .describe(
        'Hosts, like hooks.internal or 127.0.0.1:9000, that webhooks may reach though they are private, and without TLS',
      ),
    ATTACHMENT_HOSTS: z
      .string()
      .transform((text) => text.split(',').flatMap((name) => name.trim().toLowerCase() || []))
      .refine((hosts) => hosts.every(isHost), 'hosts separated by commas, with a port where it is not 443')
      .prefault('')
      .describe(
        'Hosts from which images and files that a /v1 request names by https URL are fetched, at public addresses only; none: such URLs are refused, because callers choose them',
      ),
    AGENT_ENV: variableNames
      .prefault('')
      .describe(
        'Variables that an agent sees besides ANTHROPIC_API_KEY, ANTHROPIC_AUTH_TOKEN, ANTHROPIC_BASE_URL, CLAUDE_CODE_OAUTH_TOKEN, PATH, HOME, LANG, TZ and the proxies',
      ),
    LOG_LEVEL: z
      .enum(
        ['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent'],
        'one of fatal, error, warn, info, debug, trace, silent',
      )
      .default('info')
      .describe('How much is logged'),
  })
  .refine((config) => config.WEBHOOK_URL === null || config.WEBHOOK_SECRET !== null, {
    path: ['WEBHOOK_SECRET'],
    message: 'a secret, because WEBHOOK_URL is set',
  })
  .refine((config) => config.SUPPORTED_MODELS.includes(config.DEFAULT_MODEL), {
    path: ['DEFAULT_MODEL'],
    message: 'one of SUPPORTED_MODELS',
    // Of two names that are no names, neither need be the other's.
    when: ({ issues }) => issues.length === 0,
  });

export type Config = Readonly<z.output<typeof ConfigSchema>>;

/** A setting is wrong. The message names each variable, what it holds and what is allowed: one line each. */
export class ConfigError extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'ConfigError';
  }
}

/** Reads the settings from an environment. Throws `ConfigError`; there is no falling back to a default for a bad value. */
export function readConfig(env: Readonly<Record<string, string | undefined>>): Config {
  const result = ConfigSchema.safeParse(env);
  if (result.success) return frozen(result.data);
  const lines = new Map(result.error.issues.map((issue) => [String(issue.path[0]), issue.message]));
  throw new ConfigError(
    [...lines].map(([name, allowed]) => `${name} ${holds(name, env[name])}; allowed: ${allowed}`).join('\n'),
  );
}

/** Secrets are described, not shown: the line ends up in a log. */
function holds(name: string, value: string | undefined): string {
  if (value === undefined) return 'is not set';
  if (name === 'API_BEARER_TOKEN' || name === 'WEBHOOK_SECRET') return `holds ${value.length} characters`;
  // What stands before the last @ of a URL may be a password, however it is written.
  const shown = name === 'BASE_REPO_URL' ? value.replace(/^.*@/s, '***@') : value;
  return `holds ${JSON.stringify(shown.slice(0, 200))}`;
}

function frozen(config: Config): Config {
  for (const value of Object.values(config)) Object.freeze(value);
  return Object.freeze(config);
}

/** Written as a URL has it: what is written otherwise would never match. */
function isHost(name: string): boolean {
  const url = `https://${name}/`;
  return !name.includes('*') && URL.canParse(url) && new URL(url).host === name;
}

function noNul(text: string): boolean {
  return !text.includes('\0');
}
