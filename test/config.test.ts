import { describe, expect, test } from 'vitest';
import { type Config, ConfigError, readConfig } from '../src/config.ts';

const defaults: Config = {
  HOST: '127.0.0.1',
  PORT: 8080,
  DATA_DIR: './data',
  BASE_REPO_URL: null,
  BASE_BRANCH: null,
  MAX_PROMPT_BYTES: 4_194_304,
  GIT_CRYPT_KEY: '/secrets/git-crypt/key',
  SUBMODULES: false,
  LFS: false,
  MAX_CONCURRENCY: 10,
  MAX_QUEUE_DEPTH: 100,
  JOB_TTL_SECONDS: 3600,
  FOLLOW_UP_TTL_SECONDS: 604_800,
  FETCH_DEBOUNCE_SECONDS: 15,
  CLAUDE_BIN: 'claude',
  SUPPORTED_MODELS: ['haiku', 'sonnet', 'opus', 'claude-haiku-4-5', 'claude-sonnet-4-6', 'claude-opus-4-7'],
  DEFAULT_MODEL: 'sonnet',
  OPENAI_COMPAT_AGENT: null,
  OPENAI_COMPAT_BUDGET_USD: 2,
  OPENAI_COMPAT_TIMEOUT_SECONDS: 900,
  KILL_GRACE_SECONDS: 5,
  IDLE_TIMEOUT_SECONDS: 0,
  WARM_AGENTS: 0,
  ISOLATION: 'none',
  POOL_SIZE: 4,
  MIN_FREE_DISK_BYTES: 67_108_864,
  MAX_WORKSPACE_BYTES: 68_719_476_736,
  WEBHOOK_SECRET: null,
  WEBHOOK_URL: null,
  WEBHOOK_ALLOWED_HOSTS: [],
  ATTACHMENT_HOSTS: [],
  RESTART_POLICY: 'kill',
  DRAIN_SECONDS: 2820,
  MAX_OUTPUT_BYTES: 1_073_741_824,
  AGENT_ENV: [],
  LOG_LEVEL: 'info',
};

function messageOf(env: Readonly<Record<string, string>>): string {
  try {
    readConfig(env);
  } catch (error) {
    if (error instanceof ConfigError) return error.message;
    throw error;
  }
  throw new Error('nothing was refused');
}

test('an empty environment gives the documented defaults', () => {
  expect(readConfig({})).toEqual(defaults);
});

test('variables of others are not looked at', () => {
  expect(readConfig({ EDITOR: 'vi', PORTS: 'x', __proto__: 'x', ANTHROPIC_API_KEY: 'secret' })).toEqual(defaults);
});

test('the configuration cannot be changed', () => {
  const config = readConfig({ AGENT_ENV: 'A' });
  expect(() => Object.assign(config, { PORT: 1 })).toThrow(TypeError);
  expect(() => Object.assign(config.SUPPORTED_MODELS, ['x'])).toThrow(TypeError);
  expect(() => Object.assign(config.AGENT_ENV, ['x'])).toThrow(TypeError);
});

const taken: readonly (readonly [keyof Config, string, unknown])[] = [
  ['API_BEARER_TOKEN', 'aZ09-._~+/==', 'aZ09-._~+/=='],
  ['API_BEARER_TOKEN_FILE', '/run/secrets/token', '/run/secrets/token'],
  ['HOST', '0.0.0.0', '0.0.0.0'],
  ['HOST', '::1', '::1'],
  ['HOST', 'localhost', 'localhost'],
  ['PORT', '0', 0],
  ['PORT', '65535', 65_535],
  ['DATA_DIR', '/var/lib/a b', '/var/lib/a b'],
  ['WORKSPACE_DIR', '/w', '/w'],
  ['BASE_REPO_URL', 'git@example.com:a/b.git', 'git@example.com:a/b.git'],
  ['BASE_REPO_URL', 'https://user:pass@example.com/a.git', 'https://user:pass@example.com/a.git'],
  ['BASE_REPO_URL', '/srv/base', '/srv/base'],
  ['BASE_REPO_URL', '', null],
  ['BASE_BRANCH', 'feature/a_b-1.2', 'feature/a_b-1.2'],
  ['BASE_BRANCH', '', null],
  ['JOBS_DIR', '/j', '/j'],
  ['MAX_WORKSPACE_BYTES', '0', 0],
  ['MAX_PROMPT_BYTES', '1', 1],
  ['MAX_PROMPT_BYTES', '10485760', 10_485_760],
  ['GIT_CRYPT_KEY', '', null],
  ['GIT_CRYPT_KEY', '/k', '/k'],
  ['SUBMODULES', 'true', true],
  ['SUBMODULES', 'false', false],
  ['LFS', 'true', true],
  ['MAX_CONCURRENCY', '1', 1],
  ['MAX_QUEUE_DEPTH', '1', 1],
  ['JOB_TTL_SECONDS', '1', 1],
  ['FETCH_DEBOUNCE_SECONDS', '0', 0],
  ['CLAUDE_BIN', '/opt/claude', '/opt/claude'],
  ['SUPPORTED_MODELS', ' sonnet , x:1 ', ['sonnet', 'x:1']],
  ['DEFAULT_MODEL', 'opus', 'opus'],
  ['OPENAI_COMPAT_AGENT', 'helper', 'helper'],
  ['OPENAI_COMPAT_AGENT', '', null],
  ['OPENAI_COMPAT_BUDGET_USD', '0.000001', 0.000_001],
  ['OPENAI_COMPAT_BUDGET_USD', '1000', 1000],
  ['OPENAI_COMPAT_TIMEOUT_SECONDS', '86400', 86_400],
  ['KILL_GRACE_SECONDS', '0', 0],
  ['IDLE_TIMEOUT_SECONDS', '86400', 86_400],
  ['WARM_AGENTS', '100', 100],
  ['DRAIN_SECONDS', '0', 0],
  ['MAX_OUTPUT_BYTES', '1024', 1024],
  ['AGENT_ENV', 'A, _B1,', ['A', '_B1']],
  ['AGENT_ENV', '', []],
  ['LOG_LEVEL', 'silent', 'silent'],
  ['ISOLATION', 'namespace', 'namespace'],
  ['WEBHOOK_ALLOWED_HOSTS', 'A.internal, b:9', ['a.internal', 'b:9']],
  ['ATTACHMENT_HOSTS', 'Files.example.org, b:8443', ['files.example.org', 'b:8443']],
  ['RESTART_POLICY', 'adopt', 'adopt'],
];

test.each(taken)('%s=%s is taken', (name, value, expected) => {
  expect(readConfig({ [name]: value })).toEqual({ ...defaults, [name]: expected });
});

const notNumbers = ['', ' ', 'x', '-1', '1.5', '1e2', '0x10', ' 5', '5 ', '+5', '5s', '٣', '1_000', 'NaN', 'Infinity'];
const whole = 'a whole number from';
const refused: readonly (readonly [string, string, readonly string[]])[] = [
  ['HOST', 'a host name or an address', ['', ' ', 'a b', 'http://a', 'a/b', 'a\n']],
  ['PORT', `${whole} 0 to 65535`, [...notNumbers, '65536', '99999999999999999999']],
  ['DATA_DIR', 'a path', ['', 'a\0b']],
  ['WORKSPACE_DIR', 'a path', ['', 'a\0b']],
  ['JOBS_DIR', 'a path', ['', 'a\0b']],
  ['API_BEARER_TOKEN_FILE', 'a path', ['', 'a\0b']],
  ['CLAUDE_BIN', 'a path', ['', 'a\0b']],
  ['GIT_CRYPT_KEY', 'text without NUL', ['a\0b']],
  [
    'BASE_REPO_URL',
    'the URL or the path of a git repository',
    ['-u', '--upload-pack=x', 'ext::sh -c x', 'a b', ' ', 'a\n'],
  ],
  [
    'BASE_BRANCH',
    'the name of a branch',
    ['-b', 'a..b', 'a b', '/a', 'a/', 'a//b', '.a', 'a.lock', 'a@{1}', 'a~1', 'a:b', 'é', ' ', 'a'.repeat(201)],
  ],
  ['MAX_WORKSPACE_BYTES', `${whole} 0 to 999999999999999`, [...notNumbers, '1000000000000000']],
  ['MAX_PROMPT_BYTES', `${whole} 1 to 10485760`, [...notNumbers, '0', '10485761']],
  ['SUBMODULES', 'true or false', ['', '1', 'yes', 'TRUE', ' true', 'true\n']],
  ['LFS', 'true or false', ['', '0', 'on', 'True']],
  ['MAX_CONCURRENCY', `${whole} 1 to 1000`, [...notNumbers, '0', '1001']],
  ['MAX_QUEUE_DEPTH', `${whole} 1 to 1000000`, [...notNumbers, '0', '1000001']],
  ['JOB_TTL_SECONDS', `${whole} 1 to 31536000`, [...notNumbers, '0', '31536001']],
  ['FOLLOW_UP_TTL_SECONDS', `${whole} 1 to 31536000`, [...notNumbers, '0', '31536001']],
  ['FETCH_DEBOUNCE_SECONDS', `${whole} 0 to 86400`, [...notNumbers, '86401']],
  ['SUPPORTED_MODELS', 'names separated by commas', ['', ',', 'a,', 'a,,b', '-a', 'a b', 'sonnet,--x']],
  ['DEFAULT_MODEL', 'the name of a model', ['', ' ', '-a', 'a b', 'a'.repeat(65)]],
  ['DEFAULT_MODEL', 'one of SUPPORTED_MODELS', ['other', 'Sonnet']],
  ['OPENAI_COMPAT_AGENT', 'the name of an agent', [' ', '-a', '--agent', '../a']],
  [
    'OPENAI_COMPAT_BUDGET_USD',
    'a decimal number greater than 0',
    ['', '0', '0.0', '-1', '1000.1', '1e2', '.5', '5.', '$5', '1,5'],
  ],
  ['OPENAI_COMPAT_TIMEOUT_SECONDS', `${whole} 1 to 86400`, [...notNumbers, '0', '86401']],
  ['KILL_GRACE_SECONDS', `${whole} 0 to 600`, [...notNumbers, '601']],
  ['IDLE_TIMEOUT_SECONDS', `${whole} 0 to 86400`, [...notNumbers, '86401']],
  ['WARM_AGENTS', `${whole} 0 to 100`, [...notNumbers, '101']],
  ['DRAIN_SECONDS', `${whole} 0 to 86400`, [...notNumbers, '86401']],
  ['MAX_OUTPUT_BYTES', `${whole} 1024 to 1099511627776`, [...notNumbers, '1023', '1099511627777']],
  ['ATTACHMENT_HOSTS', 'hosts separated by commas', ['https://a', 'a/b', 'a:443', 'a b', '*.a', 'a,u@b', 'a:x']],
  ['AGENT_ENV', 'names of variables', ['1A', 'A B', 'A=b', 'A;B', '*', 'é']],
  ['LOG_LEVEL', 'one of fatal, error', ['', 'INFO', 'verbose', 'info ']],
  ['ISOLATION', 'none or namespace', ['', 'pod', 'NONE']],
  ['RESTART_POLICY', 'kill or adopt', ['', 'keep']],
];

describe.each(refused)('%s', (name, allowed, values) => {
  test.each(values)('does not take %j, and says what it holds and what is allowed', (value) => {
    const message = messageOf({ [name]: value });
    expect(message).toContain(`${name} holds ${JSON.stringify(value.slice(0, 200))}; allowed: ${allowed}`);
    expect(message).not.toContain('\n');
  });
});

test('a webhook needs a URL and a secret, and the secret is not shown', () => {
  expect(messageOf({ WEBHOOK_SECRET: 'whsec_short' })).toBe(
    'WEBHOOK_SECRET holds 11 characters; allowed: whsec_ and 24 to 64 bytes in base64',
  );
  const secret = `whsec_${'A'.repeat(32)}`;
  expect(messageOf({ WEBHOOK_URL: 'ftp://a', WEBHOOK_SECRET: secret })).toContain('allowed: an https URL');
  expect(messageOf({ WEBHOOK_URL: 'https://hooks.example' })).toContain('WEBHOOK_SECRET is not set');
});

test('all that is wrong is told at once, a line each', () => {
  expect(messageOf({ PORT: 'x', LOG_LEVEL: 'y', MAX_CONCURRENCY: '0' }).split('\n')).toHaveLength(3);
});

test('a default model that the list of models leaves out is refused though nobody set it', () => {
  expect(messageOf({ SUPPORTED_MODELS: 'opus' })).toBe('DEFAULT_MODEL is not set; allowed: one of SUPPORTED_MODELS');
});

test.each(['', ' ', 'two words', 'geheim\n', 'gehéim', 'g'.repeat(5000)])('the token %j is refused unseen', (value) => {
  expect(messageOf({ API_BEARER_TOKEN: value })).toBe(
    `API_BEARER_TOKEN holds ${value.length} characters; allowed: at least one character of A-Z a-z 0-9 - . _ ~ + / and trailing =`,
  );
});

test.each([
  'https://user:hunter2@example.com/a b',
  'https://user:hunter2@x@example.com/a b',
  'https://user:hunter2/x@example.com/a b',
  'hunter2@example.com:a b',
])('the password in %s is refused unseen', (value) => {
  const message = messageOf({ BASE_REPO_URL: value });
  expect(message).toMatch(/^BASE_REPO_URL holds "\*\*\*@example\.com.a b"; allowed: /);
});
