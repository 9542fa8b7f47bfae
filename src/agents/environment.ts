/** The variables that reach every agent, where the service has them: its credentials, and where it lives. */
const passedOn: ReadonlySet<string> = new Set([
  'ANTHROPIC_API_KEY',
  'ANTHROPIC_AUTH_TOKEN',
  'ANTHROPIC_BASE_URL',
  'CLAUDE_CODE_OAUTH_TOKEN',
  'PATH',
  'HOME',
  'LANG',
  'TZ',
  ...['HTTP_PROXY', 'HTTPS_PROXY', 'NO_PROXY', 'ALL_PROXY'].flatMap((name) => [name, name.toLowerCase()]),
]);

/** The service's own: its token, and what tells where its data lies. Not even AGENT_ENV hands these on. */
const ownVariables: ReadonlySet<string> = new Set([
  'API_BEARER_TOKEN',
  'API_BEARER_TOKEN_FILE',
  'GIT_CRYPT_KEY',
  'BASE_REPO_URL',
  'DATA_DIR',
  'WORKSPACE_DIR',
  'JOBS_DIR',
]);

/** The variable by which what is left of a run can be told from everything else on the machine: its value is the job's id. */
export const jobMark = 'AGENT_JOB_ID';

export interface EnvironmentOptions {
  /** The service's environment. */
  readonly source: Readonly<Record<string, string | undefined>>;
  /** Further names to pass on. */
  readonly allow: readonly string[];
  readonly jobId: string;
  readonly tmpDir: string;
  /** Set where the source has none that is passed on. */
  readonly defaults: Readonly<Record<string, string>>;
  /** Set whatever the source says. */
  readonly fixed: Readonly<Record<string, string>>;
  readonly isRoot: boolean;
}

/** An agent's whole environment: what is not named here does not reach it. */
export function agentEnvironment(options: EnvironmentOptions): Readonly<Record<string, string>> {
  const { source, allow, defaults, fixed, jobId, tmpDir, isRoot } = options;
  const passed = [...passedOn, ...allow].flatMap((name): readonly (readonly [string, string])[] => {
    const value = ownVariables.has(name) ? undefined : source[name];
    return value === undefined ? [] : [[name, value]];
  });
  return {
    ...defaults,
    ...Object.fromEntries(passed),
    ...fixed,
    TMPDIR: tmpDir,
    [jobMark]: jobId,
    // As root the CLI refuses to run without asking for permissions, unless it is told that the machine is expendable.
    ...(isRoot ? { IS_SANDBOX: '1' } : {}),
  };
}
