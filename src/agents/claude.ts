import { claudeEvents } from './claude-events.ts';
import { claudeHistory } from './claude-history.ts';
import { createClaudeReader } from './claude-reader.ts';
import { readClaudeResult } from './claude-result.ts';
import { claudeLines, claudeStdin, takesLines } from './claude-stdin.ts';
import type { AgentProvider, AgentVariables, Invocation } from './provider.ts';
import type { RunPaths } from './run-directory.ts';

/** Below this a number prints with an exponent, which no command line should have to read; no request costs as little. */
const smallestBudgetUsd = 1e-6;

/** The `claude` CLI, headless. */
export const claude: AgentProvider = {
  name: 'claude',
  versionArgs: ['--version'],
  installHint: 'install it (npm install -g @anthropic-ai/claude-code, with its install scripts) or set CLAUDE_BIN',
  stdin: claudeStdin,
  history: claudeHistory,
  args: claudeArgs,
  early: {
    args: (invocation) => [...commonArgs(invocation), lineInput],
    stdin: claudeLines,
  },
  variables: claudeVariables,
  output: {
    // Values without their keys, so that they match whatever space the JSON has. Each costs a search of all output: the
    // first two hold the answer, the last tells the model, and without its first quote is found in a tenth of the time.
    eventNeedles: ['"text_delta"', '"assistant"', 'init"'].map((text) => Buffer.from(text)),
    createReader: createClaudeReader,
    resultNeedle: Buffer.from('"result"'),
    readResult: readClaudeResult,
  },
  events: claudeEvents,
};

const lineInput = '--input-format=stream-json';

function claudeArgs(invocation: Invocation): readonly string[] {
  const { spec, paths } = invocation;
  return [
    ...commonArgs(invocation),
    ...(takesLines(spec) ? [lineInput] : []),
    ...(spec.systemPrompt === null ? [] : [`--append-system-prompt-file=${paths.systemPrompt}`]),
  ];
}

function commonArgs({ id, spec, paths, sessionId }: Invocation): readonly string[] {
  const { model, agent, effort, history } = spec;
  return [
    '-p',
    '--output-format=stream-json',
    '--verbose', // without it stream-json is refused
    '--include-partial-messages',
    '--dangerously-skip-permissions', // nobody is there to ask; workspace and supervision are the boundary
    '--no-session-persistence',
    `--session-id=${sessionId}`,
    `--name=${id}`, // else a request is spent on finding a title
    `--max-budget-usd=${decimal(spec.maxBudgetUsd)}`,
    '--strict-mcp-config', // no MCP servers but those named on the command line: none
    '--disallowedTools=ListAgents,SendMessage', // runs must not see each other
    ...(model === null ? [] : [`--model=${model}`]),
    ...(agent === null ? [] : [`--agent=${agent}`]),
    ...(effort === null ? [] : [`--effort=${effort}`]),
    // Resumed from a copy: else the run would have the id of the session that it goes on from.
    ...(history === undefined ? [] : [`--resume=${paths.history}`, '--fork-session']),
  ];
}

function claudeVariables({ config, tmp }: RunPaths): AgentVariables {
  return {
    fixed: {
      CLAUDE_CONFIG_DIR: config, // with one for all, runs would see each other
      CLAUDE_CODE_TMPDIR: tmp,
      CLAUDE_CODE_DISABLE_ATTACHMENTS: '1', // "@/path" in a prompt would read that file, unasked
      DISABLE_AUTOUPDATER: '1',
    },
    defaults: {
      CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC: '1', // starts a fifth faster, and calls no host but the API
      CLAUDE_CODE_DISABLE_BACKGROUND_TASKS: '1', // one would keep the process, and the place, after the result
      // Ten by default: three minutes until a wrong key is reported. A passing overload is still survived.
      CLAUDE_CODE_MAX_RETRIES: '3',
    },
  };
}

function decimal(usd: number): string {
  return String(Math.max(usd, smallestBudgetUsd));
}
