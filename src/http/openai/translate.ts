import type { Effort, JobSpec, JsonObject } from '../../jobs/job.ts';
import type { OpenAiSettings } from '../app.ts';
import { conversation, type MessagePlaces } from './conversation.ts';
import { modelNotFound } from './errors.ts';
import type { ChatMessage, ChatRequest } from './schemas.ts';

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

/** What a request of any of the protocols asks for, with its messages in the words of chat completions. */
export interface Ask {
  readonly model: string | null | undefined;
  readonly messages: readonly ChatMessage[];
  readonly effort: Effort | null;
  /** What the answer's JSON has to fit; null where it is text. */
  readonly schema: JsonObject | null;
  readonly metadata: JsonObject | null;
  /** How a refusal names the places of the messages; the default is that of chat completions. */
  readonly places?: MessagePlaces;
}

/** A chat request as a job. Throws as `jobOf` does. */
export function chatJob(
  body: ChatRequest,
  schema: JsonObject | null,
  settings: OpenAiSettings,
  maxBytes: number,
): JobSpec {
  const { model, messages } = body;
  const ask = { model, messages, schema, effort: effortFor(body.reasoning_effort), metadata: metadataOf(body) };
  return jobOf(ask, settings, maxBytes);
}

/** Throws `OpenAiError`: 404 for a model that is not served, 400 for messages that cannot be asked. */
export function jobOf(ask: Ask, settings: OpenAiSettings, maxPromptBytes: number): JobSpec {
  const model = ask.model ?? settings.defaultModel;
  if (!settings.models.includes(model)) throw modelNotFound(model);
  return {
    kind: 'chat',
    provider: 'claude',
    ...conversation(ask.messages, maxPromptBytes, ask.places),
    agent: settings.agent,
    model,
    effort: ask.effort,
    maxBudgetUsd: settings.budgetUsd,
    timeoutMs: settings.timeoutMs,
    metadata: ask.metadata,
    ...(ask.schema !== null && { outputSchema: ask.schema }),
  };
}

export function effortFor(name: ChatRequest['reasoning_effort']): Effort | null {
  return name == null ? null : effortOf[name];
}

/** The caller's metadata, and its `user` beside it unless the metadata has that key for something else. */
export function metadataOf({ user, metadata }: Pick<ChatRequest, 'user' | 'metadata'>): JsonObject | null {
  if (user == null) return metadata ?? null;
  return { user, ...metadata };
}
