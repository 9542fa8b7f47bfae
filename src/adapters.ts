import { join, resolve } from 'node:path';
import { type AgentRunnerOptions, createAgentRunner } from './agents/agent-runner.ts';
import type { EarlyRunner } from './agents/early-agents.ts';
import { providers } from './agents/registry.ts';
import { createWarmAgents, type WarmAgents } from './agents/warm-agents.ts';
import { type Config, ConfigError } from './config.ts';
import { createAttachmentClient } from './http/openai/attachment-client.ts';
import type { WebhookSettings } from './http/webhook-client.ts';
import type { JobSpec } from './jobs/job.ts';
import type { Clock } from './jobs/ports.ts';
import { createAgeClock, createDueClock } from './jobs/set-clocks.ts';
import { chooseContainment, chooseNamespace } from './process/choose-containment.ts';
import type { Containment } from './process/containment.ts';
import type { Logger } from './telemetry/logger.ts';
import { createWorkspaceClient, type Workspaces } from './workspaces/workspace-client.ts';
import type { WorkspaceMeter } from './workspaces/workspace-meter.ts';

/** What the settings mean to each adapter: seconds become milliseconds, names become paths. */

export const clock: Clock = { now: () => Date.now() };
/** For ages within this process: nobody can set it, forward or back. */
export const monotonicClock: Clock = { now: () => performance.now() };

/** Whoever sets the time of the machine: nothing is removed early, and no webhook waits for hours. */
export function setClocks({ JOB_TTL_SECONDS, FOLLOW_UP_TTL_SECONDS }: Config) {
  const longestMs = Math.max(JOB_TTL_SECONDS, FOLLOW_UP_TTL_SECONDS) * 1000;
  const ages = createAgeClock(clock, monotonicClock, longestMs);
  return { ages, dues: createDueClock(clock, monotonicClock) };
}
/** All that git, which reaches the remote for us, sees of the environment; set by nobody, a variable is absent. */
const gitVariables = [
  ...['PATH', 'HOME', 'LANG', 'SSH_AUTH_SOCK', 'GIT_SSH_COMMAND', 'GIT_ASKPASS', 'GIT_CONFIG_GLOBAL'],
  ...['GIT_SSL_CAINFO', 'SSL_CERT_FILE', 'SSL_CERT_DIR'],
  ...['HTTP_PROXY', 'HTTPS_PROXY', 'NO_PROXY', 'ALL_PROXY'].flatMap((name) => [name, name.toLowerCase()]),
];

type Environment = Readonly<Record<string, string | undefined>>;

export async function createContainment(config: Config, dataDir: string, log: Logger): Promise<Containment> {
  const chosen = await chooseContainment();
  if (config.RESTART_POLICY === 'adopt' && chosen.containment.adoption === undefined) {
    throw new ConfigError(`RESTART_POLICY holds "adopt"; allowed: kill, or what makes it work (${chosen.weakness})`);
  }
  if (config.ISOLATION === 'none') {
    if (chosen.weakness !== null) log.warn({ reason: chosen.weakness }, 'weak containment');
    return chosen.containment;
  }
  const { WORKSPACE_DIR, JOBS_DIR, API_BEARER_TOKEN_FILE, GIT_CRYPT_KEY } = config;
  const hidden = [dataDir, WORKSPACE_DIR, JOBS_DIR, API_BEARER_TOKEN_FILE, GIT_CRYPT_KEY].flatMap((path) =>
    path === undefined || path === null ? [] : [resolve(path)],
  );
  const namespace = await chooseNamespace(hidden, chosen);
  if (typeof namespace !== 'string') return namespace;
  throw new ConfigError(`ISOLATION holds "namespace"; allowed: none, or what makes it work (${namespace})`);
}

export function createWorkspaces(
  config: Config,
  dataDir: string,
  meter: WorkspaceMeter,
  env: Environment,
  log: Logger,
): Workspaces {
  const gitEnv = gitVariables.flatMap((name) => {
    const value = env[name];
    return value === undefined ? [] : [[name, value] as const];
  });
  const settings = {
    basePath: resolve(config.WORKSPACE_DIR ?? join(dataDir, 'base')),
    baseUrl: config.BASE_REPO_URL,
    baseBranch: config.BASE_BRANCH,
    jobsDir: resolve(config.JOBS_DIR ?? join(dataDir, 'jobs')),
    poolSize: config.POOL_SIZE,
    fetchDebounceMs: config.FETCH_DEBOUNCE_SECONDS * 1000,
    scratchDir: join(dataDir, 'scratch'),
    // Beside the log of the run, and so forgotten with it.
    resultsDir: join(dataDir, 'runs'),
    // Where none is configured: a name under a file, which cannot exist.
    gitCryptKey: config.GIT_CRYPT_KEY ?? '/dev/null/none',
    gitEnv: Object.fromEntries(gitEnv),
    submodules: config.SUBMODULES,
    lfs: config.LFS,
    room: roomSettings(config, dataDir),
  };
  return createWorkspaceClient(settings, log, meter);
}

/** Where jobs write, and how much has to be free there. */
export function roomSettings(config: Config, dataDir: string) {
  return {
    directories: { DATA_DIR: dataDir, JOBS_DIR: resolve(config.JOBS_DIR ?? join(dataDir, 'jobs')) },
    minFreeBytes: config.MIN_FREE_DISK_BYTES,
  };
}

export function createRunner(
  config: Config,
  runs: Pick<AgentRunnerOptions, 'runsDir' | 'recorder' | 'containment' | 'disk' | 'remover'>,
  env: Environment,
  log: Logger,
): EarlyRunner {
  return createAgentRunner({
    ...runs,
    providers,
    bin: { claude: config.CLAUDE_BIN },
    sourceEnv: env,
    allowEnv: config.AGENT_ENV,
    graceMs: config.KILL_GRACE_SECONDS * 1000,
    maxOutputBytes: config.MAX_OUTPUT_BYTES,
    idleMs: config.IDLE_TIMEOUT_SECONDS * 1000,
    survives: config.RESTART_POLICY === 'adopt',
    log,
    clock: monotonicClock,
  });
}

/** Null where none are wanted. */
export function createWarm(
  config: Config,
  workspaces: Workspaces,
  runner: EarlyRunner,
  log: Logger,
): WarmAgents | null {
  if (config.WARM_AGENTS === 0) return null;
  // What a /v1 call asks for that says nothing but its messages.
  const { agent, defaultModel: model, budgetUsd: maxBudgetUsd, timeoutMs } = openAiSettings(config);
  const spec: JobSpec = {
    ...{ kind: 'chat', provider: 'claude', prompt: '', systemPrompt: null, effort: null, metadata: null },
    ...{ agent, model, maxBudgetUsd, timeoutMs },
  };
  return createWarmAgents({
    ...{ size: config.WARM_AGENTS, spec, workspaces, heads: workspaces.heads, runner, log, clock },
    availableMemory: () => process.availableMemory(),
  });
}

export function webhookSettings({
  WEBHOOK_SECRET: secret,
  WEBHOOK_ALLOWED_HOSTS: allowed,
}: Config): WebhookSettings | null {
  return secret === null ? null : { secret: Buffer.from(secret.slice('whsec_'.length), 'base64'), allowed };
}

export function openAiSettings(config: Config) {
  return {
    models: config.SUPPORTED_MODELS,
    defaultModel: config.DEFAULT_MODEL,
    agent: config.OPENAI_COMPAT_AGENT,
    budgetUsd: config.OPENAI_COMPAT_BUDGET_USD,
    timeoutMs: config.OPENAI_COMPAT_TIMEOUT_SECONDS * 1000,
    ...(config.ATTACHMENT_HOSTS.length > 0 && {
      attachments: createAttachmentClient({ hosts: config.ATTACHMENT_HOSTS, maxBytes: config.MAX_PROMPT_BYTES }),
    }),
  };
}
