import type { JobReason, JsonObject } from '../jobs/job.ts';
import { listAt, numberAt, objectAt, parseObject, textAt, valueAt } from './json.ts';
import type { AgentResult } from './provider.ts';

/** A sentence for a person; the whole of it is in the job's output. */
const maxErrorLength = 4_096;
/** The real one has about 1 KB; it goes into the store with every job. */
const maxUsageLength = 65_536;

/** The `claude` CLI's result object: its last line of stream-json, and all that it prints with --output-format=json. */
export function readClaudeResult(line: Buffer): AgentResult | null {
  const object = parseObject(line);
  if (object === null || textAt(object, 'type') !== 'result') return null;
  return {
    failure: failureOf(object),
    structured: objectAt(object, 'structured_output') !== null,
    result: textAt(object, 'result'),
    usage: boundedUsage(objectAt(object, 'usage')),
    costUsd: numberAt(object, 'total_cost_usd'),
    numTurns: numberAt(object, 'num_turns'),
    sessionId: textAt(object, 'session_id'),
    resolvedModel: mainModel(objectAt(object, 'modelUsage')),
    apiStatus: numberAt(object, 'api_error_status'),
  };
}

/** An API error has the subtype of a success, and an interrupted run the exit code of one: all three must agree. */
function failureOf(object: JsonObject): AgentResult['failure'] {
  const subtype = textAt(object, 'subtype');
  if (subtype === 'success' && valueAt(object, 'is_error') === false) return null;
  const reason: JobReason =
    subtype === 'error_max_budget_usd' ? 'budget' : subtype === 'error_max_turns' ? 'max_turns' : 'agent_error';
  return { reason, error: errorText(object).slice(0, maxErrorLength) };
}

function errorText(object: JsonObject): string {
  const errors = listAt(object, 'errors').filter((error) => typeof error === 'string');
  const text = textAt(object, 'result') || errors.join('; ');
  return text || `The agent reported ${textAt(object, 'subtype') ?? 'an error'}`;
}

/** Side requests may use a smaller model: the one that wrote the most is the one that answered. */
function mainModel(usage: JsonObject | null): string | null {
  const written = (model: string): number => numberAt(objectAt(usage, model), 'outputTokens') ?? 0;
  const [first] = Object.keys(usage ?? {}).sort((a, b) => written(b) - written(a));
  return first ?? null;
}

function boundedUsage(usage: JsonObject | null): JsonObject | null {
  try {
    return usage !== null && JSON.stringify(usage).length <= maxUsageLength ? usage : null;
  } catch {
    // Nested too deep to be written again: no usage that we could keep.
    return null;
  }
}
