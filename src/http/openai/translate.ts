import type { Effort, JobSpec, JsonObject } from '../../jobs/job.ts';
import type { OpenAiSettings } from '../app.ts';
import { conversation } from './conversation.ts';
import { modelNotFound } from './errors.ts';
import type { ChatRequest } from './schemas.ts';

/** OpenAI's names for the three levels below the CLI's lowest mean the lowest. */
const effortOf: Readonly<Record<NonNullable<ChatRequest['reasoning_effort']>, Effort>> = {
  none: 'low',
  minimal: 'low',
  low: 'low',
  medium: 'medium',
  high: 'high',
  xhigh: 'xhigh',
  max: 'max',
};

/** A chat request as a job. Throws `OpenAiError`: 404 for a model that is not served, 400 for messages that cannot be asked. */
export function chatJob(
  body: ChatRequest,
  settings: OpenAiSettings,
  maxPromptBytes: number,
): JobSpec & { model: string } {
  const model = body.model ?? settings.defaultModel;
  if (!settings.models.includes(model)) throw modelNotFound(model);
  return {
    kind: 'chat',
    provider: 'claude',
    ...conversation(body.messages, maxPromptBytes),
    agent: settings.agent,
    model,
    effort: body.reasoning_effort == null ? null : effortOf[body.reasoning_effort],
    maxBudgetUsd: settings.budgetUsd,
    timeoutMs: settings.timeoutMs,
    metadata: metadataOf(body),
  };
}

/** The caller's metadata, and its `user` beside it unless the metadata has that key for something else. */
function metadataOf({ user, metadata }: ChatRequest): JsonObject | null {
  if (user == null) return metadata ?? null;
  return { user, ...metadata };
}
