import { describe, expect, test } from 'vitest';
import { agentEnvironment } from '../../src/agents/environment.ts';

const options = {
  source: {},
  allow: [],
  jobId: 'job_1',
  tmpDir: '/runs/job_1/tmp',
  defaults: {},
  fixed: {},
  isRoot: false,
};
const always = { TMPDIR: '/runs/job_1/tmp', AGENT_JOB_ID: 'job_1' };

describe('the environment of an agent', () => {
  test('holds its credentials, where it lives and the proxies, and nothing else of the service', () => {
    const wanted = {
      ANTHROPIC_API_KEY: '1',
      ANTHROPIC_AUTH_TOKEN: '2',
      ANTHROPIC_BASE_URL: '3',
      CLAUDE_CODE_OAUTH_TOKEN: '4',
      PATH: '5',
      HOME: '6',
      LANG: '7',
      TZ: '8',
      HTTPS_PROXY: '9',
      no_proxy: '10',
    };
    const source = {
      ...wanted,
      API_BEARER_TOKEN: 's',
      AWS_SECRET_ACCESS_KEY: 's',
      SHELL: '/bin/sh',
      NODE_OPTIONS: '-r x',
    };
    expect(agentEnvironment({ ...options, source })).toEqual({ ...wanted, ...always });
  });

  test('holds what the operator named, if it is there', () => {
    const source = { GITHUB_TOKEN: 'g', OTHER: 'o' };
    expect(agentEnvironment({ ...options, source, allow: ['GITHUB_TOKEN', 'ABSENT'] })).toEqual({
      GITHUB_TOKEN: 'g',
      ...always,
    });
  });

  test.each(['API_BEARER_TOKEN', 'API_BEARER_TOKEN_FILE', 'GIT_CRYPT_KEY', 'BASE_REPO_URL', 'DATA_DIR'])(
    'never holds %s, even when it is named',
    (name) => {
      expect(agentEnvironment({ ...options, source: { [name]: 's' }, allow: [name] })).toEqual(always);
    },
  );

  test('lets the operator change a default, but not what keeps runs apart', () => {
    const source = { RETRIES: '9', CONFIG_DIR: '/shared', TMPDIR: '/tmp', AGENT_JOB_ID: 'forged' };
    const env = agentEnvironment({
      ...options,
      source,
      allow: Object.keys(source),
      defaults: { RETRIES: '3', TRAFFIC: '0' },
      fixed: { CONFIG_DIR: '/runs/job_1/config' },
    });
    expect(env).toEqual({ RETRIES: '9', TRAFFIC: '0', CONFIG_DIR: '/runs/job_1/config', ...always });
  });

  test('tells the CLI that the machine is expendable only where it would refuse to run', () => {
    expect(agentEnvironment({ ...options, isRoot: true })).toEqual({ ...always, IS_SANDBOX: '1' });
  });
});
