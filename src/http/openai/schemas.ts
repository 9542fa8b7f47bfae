import { z } from 'zod';
import { readDataUrl } from './attachments.ts';

/**
 * The body of `POST /v1/chat/completions`. Every optional field may be null, which is the same as absent; unknown fields are
 * let through, because gateways add their own. What this service does not do is refused by name, never dropped.
 */

/** The limits of OpenAI for metadata, in characters. */
const maxMetadataKeys = 16;
const maxMetadataKeyLength = 64;
const maxMetadataValueLength = 512;
/** Of OpenAI there are 4, of others more; each is looked for in every piece of text. */
const maxStops = 16;

/** What a refinement says of a value that is right in OpenAI's API and not done here: `requestError` reads it. */
export function unsupported(message: string) {
  return { message, params: { code: 'unsupported_value' } };
}

export function unsupportedObject<T extends string>(type: T, message: string) {
  return z.looseObject({ type: z.literal(type) }).refine(() => false, unsupported(message));
}

const TextPart = z.looseObject({ type: z.literal('text'), text: z.string() });
const RefusalPart = z.looseObject({ type: z.literal('refusal'), refusal: z.string() });
const ImagePart = z
  .looseObject({ type: z.literal('image_url'), image_url: z.looseObject({ url: z.string() }) })
  .refine(
    ({ image_url }) => readDataUrl(image_url.url) !== null,
    unsupported('only data: URLs of PNG, JPEG, GIF and WebP images in base64 are supported'),
  );
const FilePart = z
  .looseObject({
    type: z.literal('file'),
    file: z.looseObject({
      file_data: z.string().nullish(),
      file_id: z.string().nullish(),
      filename: z.string().nullish(),
    }),
  })
  .refine(
    ({ file }) => file.file_data != null && readDataUrl(file.file_data) !== null,
    unsupported('only data: URLs of PDF, text and images in base64 are supported, as file_data'),
  );
const UserPart = z.discriminatedUnion('type', [
  TextPart,
  ImagePart,
  unsupportedObject('input_audio', 'audio is not supported'),
  FilePart,
]);

const TextContent = z.union([z.string(), z.array(TextPart).min(1)]);
const FunctionCall = z.looseObject({ name: z.string(), arguments: z.string() });
const ToolCall = z.discriminatedUnion('type', [
  z.looseObject({ type: z.literal('function'), id: z.string(), function: FunctionCall }),
  z.looseObject({
    type: z.literal('custom'),
    id: z.string(),
    custom: z.looseObject({ name: z.string(), input: z.string() }),
  }),
]);

const MessageSchema = z.discriminatedUnion('role', [
  z.looseObject({ role: z.enum(['system', 'developer']), content: TextContent, name: z.string().nullish() }),
  z.looseObject({
    role: z.literal('user'),
    content: z.union([z.string(), z.array(UserPart).min(1)]),
    name: z.string().nullish(),
  }),
  z.looseObject({
    role: z.literal('assistant'),
    content: z.union([z.string(), z.array(z.discriminatedUnion('type', [TextPart, RefusalPart]))]).nullish(),
    refusal: z.string().nullish(),
    name: z.string().nullish(),
    tool_calls: z.array(ToolCall).nullish(),
    function_call: FunctionCall.nullish(),
    audio: z
      .looseObject({})
      .nullish()
      .refine((audio) => audio == null, unsupported('audio is not supported')),
  }),
  z.looseObject({ role: z.literal('tool'), content: TextContent, tool_call_id: z.string() }),
  z.looseObject({ role: z.literal('function'), content: z.string().nullish(), name: z.string() }),
]);

/** Only of a function that is forced the parameters are read, and then as a schema. */
const FunctionDefinition = z.looseObject({ name: z.string(), description: z.string().nullish() });
const Tool = z.discriminatedUnion('type', [
  z.looseObject({ type: z.literal('function'), function: FunctionDefinition }),
  unsupportedObject('custom', 'custom tools are not supported'),
]);

const ToolChoice = z.discriminatedUnion('type', [
  z.looseObject({ type: z.literal('function'), function: z.looseObject({ name: z.string() }) }),
  unsupportedObject('allowed_tools', 'only one named function can be forced'),
  unsupportedObject('custom', 'custom tools are not supported'),
]);

/** Taken so that no client breaks, without effect: the agent has its own model settings and its own tools. */
const ignored = {
  temperature: z.number().nullish(),
  top_p: z.number().nullish(),
  presence_penalty: z.number().nullish(),
  frequency_penalty: z.number().nullish(),
  seed: z.number().nullish(),
  logit_bias: z.looseObject({}).nullish(),
  max_tokens: z.number().nullish(),
  max_completion_tokens: z.number().nullish(),
  verbosity: z.string().nullish(),
  prediction: z.looseObject({}).nullish(),
  prompt_cache_key: z.string().nullish(),
  prompt_cache_options: z.looseObject({}).nullish(),
  prompt_cache_retention: z.string().nullish(),
  service_tier: z.string().nullish(),
  store: z.boolean().nullish(),
  safety_identifier: z.string().nullish(),
  parallel_tool_calls: z.boolean().nullish(),
  web_search_options: z.looseObject({}).nullish(),
  moderation: z.looseObject({}).nullish(),
  tools: z.array(Tool).nullish(),
  tool_choice: z.union([z.enum(['auto', 'none', 'required']), ToolChoice]).nullish(),
  functions: z.array(FunctionDefinition).nullish(),
  function_call: z.union([z.enum(['auto', 'none']), z.looseObject({ name: z.string() })]).nullish(),
};

export const MetadataSchema = z.record(z.string(), z.string()).superRefine((metadata, context) => {
  const keys = Object.keys(metadata);
  if (keys.length > maxMetadataKeys) context.addIssue(`more than ${maxMetadataKeys} keys`);
  for (const [key, value] of Object.entries(metadata)) {
    const add = (message: string): void => context.addIssue({ code: 'custom', message, path: [key] });
    if (key.length > maxMetadataKeyLength) add(`a key longer than ${maxMetadataKeyLength} characters`);
    if (value.length > maxMetadataValueLength) add(`longer than ${maxMetadataValueLength} characters`);
  }
});

export const ChatRequestSchema = z
  .looseObject({
    model: z.string().nullish().describe('An alias or a name of `GET /v1/models`; none: the default model'),
    messages: z.array(MessageSchema).min(1, 'must not be empty').describe('The whole conversation'),
    reasoning_effort: z.enum(['none', 'minimal', 'low', 'medium', 'high', 'xhigh', 'max']).nullish(),
    stream: z.boolean().nullish(),
    stream_options: z
      .looseObject({ include_usage: z.boolean().nullish(), include_obfuscation: z.boolean().nullish() })
      .nullish()
      .describe('Only with `stream: true`'),
    user: z.string().max(maxMetadataValueLength).nullish().describe('Kept in the metadata of the job'),
    metadata: MetadataSchema.nullish().describe('Kept as the metadata of the job'),
    n: z
      .int()
      .gte(1)
      .nullish()
      .refine((n) => n == null || n === 1, unsupported('only 1 is supported')),
    stop: z
      .union([z.string(), z.array(z.string()).max(maxStops, `more than ${maxStops}`)])
      .nullish()
      .describe('The text of the answer is cut there; the run goes on to its end'),
    response_format: z
      .discriminatedUnion('type', [
        z.looseObject({ type: z.literal('text') }),
        z.looseObject({ type: z.literal('json_object') }),
        z.looseObject({
          type: z.literal('json_schema'),
          json_schema: z.looseObject({
            name: z.string(),
            description: z.string().nullish(),
            schema: z.looseObject({}),
          }),
        }),
      ])
      .nullish()
      .describe('With a schema the answer is the bare text of a JSON object that fits it'),
    logprobs: z
      .boolean()
      .nullish()
      .refine((value) => value !== true, unsupported('log probabilities are not supported')),
    top_logprobs: z
      .int()
      .nullish()
      .refine((value) => value == null || value === 0, unsupported('log probabilities are not supported')),
    audio: z
      .looseObject({})
      .nullish()
      .refine((audio) => audio == null, unsupported('audio is not supported')),
    modalities: z
      .array(z.string())
      .nullish()
      .refine((list) => list == null || list.every((name) => name === 'text'), unsupported('only "text" is supported')),
    ...ignored,
  })
  .refine((body) => body.stream === true || body.stream_options == null, {
    path: ['stream_options'],
    message: 'only allowed with `stream: true`',
  });

export type ChatRequest = z.output<typeof ChatRequestSchema>;
export type ChatMessage = ChatRequest['messages'][number];

/** The fields of a request that were taken and have no effect. Names of this file only: safe in a header. */
export function ignoredParams(body: ChatRequest): readonly string[] {
  const forcesTool = isForced(body.tool_choice);
  const forcesFunction = isForced(body.function_call);
  const used = new Set([
    ...(forcesTool ? ['tools', 'tool_choice'] : []),
    ...(forcesFunction ? ['functions', 'function_call'] : []),
  ]);
  return Object.keys(ignored).filter((name) => body[name] != null && !used.has(name));
}

function isForced(choice: unknown): boolean {
  return choice != null && choice !== 'auto' && choice !== 'none';
}
