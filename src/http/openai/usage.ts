import { z } from 'zod';
import type { JsonObject } from '../../jobs/job.ts';

const tokens = z.int();

export const UsageSchema = z.object({
  prompt_tokens: tokens,
  completion_tokens: tokens,
  total_tokens: tokens,
  prompt_tokens_details: z.object({ cached_tokens: tokens, cache_write_tokens: tokens, audio_tokens: tokens }),
  completion_tokens_details: z.object({
    reasoning_tokens: tokens,
    audio_tokens: tokens,
    accepted_prediction_tokens: tokens,
    rejected_prediction_tokens: tokens,
  }),
});

export type Usage = z.output<typeof UsageSchema>;

/** What a run used, in OpenAI's words: its cached input counts as prompt. Zero where the CLI did not say. */
export function usageOf(usage: JsonObject | null): Usage {
  const cached = count(usage?.['cache_read_input_tokens']);
  const written = count(usage?.['cache_creation_input_tokens']);
  const prompt = count(usage?.['input_tokens']) + cached + written;
  const completion = count(usage?.['output_tokens']);
  return {
    prompt_tokens: prompt,
    completion_tokens: completion,
    total_tokens: prompt + completion,
    prompt_tokens_details: { cached_tokens: cached, cache_write_tokens: written, audio_tokens: 0 },
    completion_tokens_details: {
      reasoning_tokens: Math.min(completion, reasoning(usage?.['output_tokens_details'])),
      audio_tokens: 0,
      accepted_prediction_tokens: 0,
      rejected_prediction_tokens: 0,
    },
  };
}

function reasoning(details: unknown): number {
  const read = z.looseObject({ thinking_tokens: z.number() }).safeParse(details);
  return read.success ? count(read.data.thinking_tokens) : 0;
}

function count(value: unknown): number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value > 0 ? value : 0;
}
