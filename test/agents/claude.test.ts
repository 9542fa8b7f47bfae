import { describe, expect, test } from 'vitest';
import { claude } from '../../src/agents/claude.ts';
import { providers } from '../../src/agents/registry.ts';
import type { JobSpec } from '../../src/jobs/job.ts';

const spec: JobSpec = {
  kind: 'execute',
  provider: 'claude',
  prompt: 'hello',
  systemPrompt: null,
  agent: null,
  model: null,
  effort: null,
  maxBudgetUsd: 5,
  timeoutMs: 1000,
  metadata: null,
};
const paths = {
  directory: '/runs/job_1',
  prompt: '/runs/job_1/prompt',
  systemPrompt: '/runs/job_1/system-prompt',
  history: '/runs/job_1/history.jsonl',
  stdout: '/runs/job_1/stdout.log',
  stderr: '/runs/job_1/stderr.log',
  record: '/runs/job_1/supervisor.json',
  exit: '/runs/job_1/exit.json',
  order: '/runs/job_1/order',
  config: '/runs/job_1/config',
  tmp: '/runs/job_1/tmp',
};

function argsFor(changed: Partial<JobSpec>): readonly string[] {
  return claude.args({ id: 'job_1', spec: { ...spec, ...changed }, paths, sessionId: 'uuid' });
}

describe('the command line of claude', () => {
  test('is this one', () => {
    expect(argsFor({})).toEqual([
      '-p',
      '--output-format=stream-json',
      '--verbose',
      '--include-partial-messages',
      '--dangerously-skip-permissions',
      '--no-session-persistence',
      '--session-id=uuid',
      '--name=job_1',
      '--max-budget-usd=5',
      '--strict-mcp-config',
      '--disallowedTools=ListAgents,SendMessage',
    ]);
  });

  test('names agent, model and effort only where the job does', () => {
    const args = argsFor({ agent: 'rev', model: 'claude-sonnet-4-6', effort: 'low' });
    expect(args.slice(-3)).toEqual(['--model=claude-sonnet-4-6', '--agent=rev', '--effort=low']);
  });

  test('goes on from a conversation in a session of its own', () => {
    const flags = ['--resume=/runs/job_1/history.jsonl', '--fork-session'];
    expect(argsFor({ history: [{ role: 'user', text: '--evil' }] }).slice(-2)).toEqual(flags);
  });

  test('asks for lines of JSON as input only where text cannot hold it', () => {
    const flag = '--input-format=stream-json';
    const attachment = { kind: 'image', mediaType: 'image/png', data: 'AA==' } as const;
    expect(argsFor({ attachments: [] })).not.toContain(flag);
    expect(argsFor({ attachments: [attachment] })).toContain(flag);
    expect(argsFor({ outputSchema: { secret: true } })).toContain(flag);
    expect(argsFor({ outputSchema: { secret: true } }).join(' ')).not.toContain('secret');
  });

  test('holds neither the prompt nor the system prompt', () => {
    const text = argsFor({ prompt: 'SECRET', systemPrompt: 'SECRET' }).join(' ');
    expect(text).not.toContain('SECRET');
    expect(text).toContain('--append-system-prompt-file=/runs/job_1/system-prompt');
  });

  test.each([
    [5, '5'],
    [0.01, '0.01'],
    [1000, '1000'],
    [0.1 + 0.2, '0.30000000000000004'],
    [0.0000015, '0.0000015'],
    [5e-324, '0.000001'],
  ])('writes a budget of %d without an exponent', (usd, text) => {
    expect(argsFor({ maxBudgetUsd: usd })).toContain(`--max-budget-usd=${text}`);
  });
});

describe('the prompt for claude', () => {
  test.each(['hello', '-x', '--version', '\n/compact', ' /x', 'a/b', '@/etc/passwd', '!ls', ''])(
    'is unchanged: %j',
    (prompt) => {
      expect(claude.stdin({ ...spec, prompt })).toBe(prompt);
    },
  );

  test.each(['/compact', '/etc/passwd is what?', '/'])(
    'gets a line break where a command could be read: %j',
    (prompt) => {
      expect(claude.stdin({ ...spec, prompt })).toBe(`\n${prompt}`);
    },
  );
});

test('every provider is registered under its own name', () => {
  for (const [name, provider] of Object.entries(providers)) expect(provider.name).toBe(name);
});
