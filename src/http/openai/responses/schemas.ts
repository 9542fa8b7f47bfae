import { z } from 'zod';
import { readDataUrl } from '../attachments.ts';
import { MetadataSchema, unsupported, unsupportedObject } from '../schemas.ts';

/**
 * The body of `POST /v1/responses`. Null is the same as absent, unknown fields are let through, and what this service does not
 * do is refused by name: as for chat completions.
 */

const InputText = z.looseObject({ type: z.literal('input_text'), text: z.string() });
const OutputText = z.looseObject({ type: z.literal('output_text'), text: z.string() });
const Refusal = z.looseObject({ type: z.literal('refusal'), refusal: z.string() });
const InputImage = z
  .looseObject({ type: z.literal('input_image'), image_url: z.string().nullish() })
  .refine(
    ({ image_url }) => image_url != null && readDataUrl(image_url) !== null,
    unsupported('only data: URLs of PNG, JPEG, GIF and WebP images in base64 are supported'),
  );
const InputFile = z
  .looseObject({ type: z.literal('input_file'), file_data: z.string().nullish(), filename: z.string().nullish() })
  .refine(
    ({ file_data }) => file_data != null && readDataUrl(file_data) !== null,
    unsupported('only data: URLs of PDF, text and images in base64 are supported, as file_data'),
  );
const Part = z.discriminatedUnion('type', [InputText, OutputText, Refusal, InputImage, InputFile]);

const Item = z.discriminatedUnion('type', [
  z.looseObject({
    type: z.literal('message'),
    role: z.enum(['user', 'assistant', 'system', 'developer']),
    content: z.union([z.string(), z.array(Part).min(1)]),
  }),
  z.looseObject({ type: z.literal('function_call'), call_id: z.string(), name: z.string(), arguments: z.string() }),
  z.looseObject({
    type: z.literal('function_call_output'),
    call_id: z.string(),
    output: z.union([z.string(), z.array(z.discriminatedUnion('type', [InputText, OutputText])).min(1)]),
  }),
  // What a model thought earlier is of no use to this agent.
  z.looseObject({ type: z.literal('reasoning') }),
  unsupportedObject('item_reference', 'references to stored items are not supported'),
]);
/** A message may come without its type. */
const InputItem = z.preprocess(
  (item) => (typeof item === 'object' && item !== null && !('type' in item) ? { ...item, type: 'message' } : item),
  Item,
);

const Tool = z.looseObject({ type: z.string(), name: z.string().nullish(), description: z.string().nullish() });
const ToolChoice = z.discriminatedUnion('type', [
  z.looseObject({ type: z.literal('function'), name: z.string() }),
  unsupportedObject('allowed_tools', 'only one named function can be forced'),
  unsupportedObject('custom', 'custom tools are not supported'),
]);

/** Taken without effect, and told back where the API does that. */
const ignored = {
  temperature: z.number().nullish(),
  top_p: z.number().nullish(),
  presence_penalty: z.number().nullish(),
  frequency_penalty: z.number().nullish(),
  max_output_tokens: z.int().nullish(),
  max_tool_calls: z.int().nullish(),
  parallel_tool_calls: z.boolean().nullish(),
  truncation: z.enum(['auto', 'disabled']).nullish(),
  service_tier: z.string().nullish(),
  safety_identifier: z.string().nullish(),
  prompt_cache_key: z.string().nullish(),
  include: z.array(z.string()).nullish(),
  tools: z.array(Tool).nullish(),
  tool_choice: z.union([z.enum(['auto', 'none', 'required']), ToolChoice]).nullish(),
};

export const ResponseRequestSchema = z.looseObject({
  model: z.string().nullish().describe('An alias or a name of `GET /v1/models`; none: the default model'),
  input: z
    .union([z.string(), z.array(InputItem).min(1, 'must not be empty')])
    .describe('A text, or the items of a conversation'),
  instructions: z.string().nullish(),
  previous_response_id: z.string().nullish().describe('A response whose conversation goes on; as long as it is kept'),
  stream: z.boolean().nullish(),
  stream_options: z.looseObject({}).nullish(),
  background: z
    .boolean()
    .nullish()
    .describe('Answer at once; the run goes on, and is read with `GET /v1/responses/:id`'),
  store: z.boolean().nullish().describe('False: it can be neither read again nor gone on from'),
  text: z
    .looseObject({
      format: z
        .discriminatedUnion('type', [
          z.looseObject({ type: z.literal('text') }),
          z.looseObject({ type: z.literal('json_object') }),
          z.looseObject({
            type: z.literal('json_schema'),
            name: z.string(),
            description: z.string().nullish(),
            schema: z.looseObject({}),
          }),
        ])
        .nullish(),
    })
    .nullish(),
  reasoning: z
    .looseObject({ effort: z.enum(['none', 'minimal', 'low', 'medium', 'high', 'xhigh', 'max']).nullish() })
    .nullish(),
  user: z.string().max(512).nullish().describe('Kept in the metadata of the job'),
  metadata: MetadataSchema.nullish().describe('Kept as the metadata of the job'),
  conversation: z
    .unknown()
    .optional()
    .refine((value) => value == null, unsupported('conversations are not supported; use previous_response_id')),
  prompt: z
    .unknown()
    .optional()
    .refine((value) => value == null, unsupported('stored prompts are not supported')),
  top_logprobs: z
    .int()
    .nullish()
    .refine((value) => value == null || value === 0, unsupported('log probabilities are not supported')),
  ...ignored,
});

export type ResponseRequest = z.output<typeof ResponseRequestSchema>;
export type InputItem = Exclude<ResponseRequest['input'], string>[number];

/** The fields of a request that were taken and have no effect. Names of this file only: safe in a header. */
export function ignoredResponseParams(body: ResponseRequest): readonly string[] {
  const { tool_choice: choice } = body;
  const forced = choice != null && choice !== 'auto' && choice !== 'none' ? ['tools', 'tool_choice'] : [];
  return Object.keys(ignored).filter((name) => body[name] != null && !forced.includes(name));
}

const nullable = <T extends z.ZodType>(schema: T) => schema.nullable();

/** All keys that Open Responses requires, also where they are null. */
export const ResponseSchema = z.object({
  id: z.string(),
  object: z.literal('response'),
  created_at: z.int().describe('Epoch seconds'),
  completed_at: nullable(z.int()),
  status: z.enum(['queued', 'in_progress', 'completed', 'incomplete', 'failed', 'cancelled']),
  background: z.boolean(),
  error: nullable(z.object({ code: z.string(), message: z.string() })),
  incomplete_details: nullable(z.object({ reason: z.string() })),
  instructions: nullable(z.string()),
  max_output_tokens: nullable(z.int()),
  max_tool_calls: nullable(z.int()),
  metadata: z.record(z.string(), z.string()),
  model: z.string(),
  output: z.array(z.looseObject({ type: z.string(), id: z.string() })),
  parallel_tool_calls: z.boolean(),
  previous_response_id: nullable(z.string()),
  prompt_cache_key: nullable(z.string()),
  reasoning: z.object({ effort: nullable(z.string()), summary: z.null() }),
  safety_identifier: nullable(z.string()),
  service_tier: z.literal('default'),
  store: z.boolean(),
  temperature: z.number(),
  presence_penalty: z.number(),
  frequency_penalty: z.number(),
  text: z.looseObject({ format: z.looseObject({ type: z.string() }) }),
  tool_choice: z.union([z.string(), z.looseObject({ type: z.string() })]),
  tools: z.array(z.looseObject({ type: z.string() })),
  top_logprobs: z.int(),
  top_p: z.number(),
  truncation: z.string(),
  usage: nullable(
    z.object({
      input_tokens: z.int(),
      input_tokens_details: z.object({ cached_tokens: z.int(), cache_write_tokens: z.int() }),
      output_tokens: z.int(),
      output_tokens_details: z.object({ reasoning_tokens: z.int() }),
      total_tokens: z.int(),
    }),
  ),
});

export type ResponseObject = z.output<typeof ResponseSchema>;
