import { z } from 'zod';
import { attached } from '../openai/attachments.ts';
import { unsupported, unsupportedObject } from '../openai/schemas.ts';

/** The body of `POST /v1/messages`. Null is the same as absent, and unknown fields are let through, as on the other doors. */

const Text = z.looseObject({ type: z.literal('text'), text: z.string() });
const base64 = z.string().regex(/^[A-Za-z0-9+/]+={0,2}$/, 'expected base64');
const Source = z.discriminatedUnion('type', [
  z
    .looseObject({ type: z.literal('base64'), media_type: z.string(), data: base64 })
    .refine(({ media_type }) => attached(media_type, '') !== null, unsupported('this media type is not supported')),
  z.looseObject({ type: z.literal('text'), data: z.string().min(1, 'must not be empty') }),
  unsupportedObject('url', 'only sources of base64 and text are supported'),
  unsupportedObject('file', 'only sources of base64 and text are supported'),
  unsupportedObject('content', 'only sources of base64 and text are supported'),
]);
const Image = z.looseObject({ type: z.literal('image'), source: Source });
const Document = z.looseObject({ type: z.literal('document'), source: Source, title: z.string().nullish() });
const ToolResult = z.looseObject({
  type: z.literal('tool_result'),
  tool_use_id: z.string(),
  content: z.union([z.string(), z.array(z.discriminatedUnion('type', [Text, Image, Document]))]).nullish(),
  is_error: z.boolean().nullish(),
});
const UserBlock = z.discriminatedUnion('type', [Text, Image, Document, ToolResult]);
const AssistantBlock = z.discriminatedUnion('type', [
  Text,
  z.looseObject({ type: z.literal('tool_use'), id: z.string(), name: z.string(), input: z.looseObject({}) }),
  // What a model thought earlier is of no use to this agent.
  z.looseObject({ type: z.enum(['thinking', 'redacted_thinking']) }),
]);

const Message = z.discriminatedUnion('role', [
  z.looseObject({ role: z.literal('user'), content: z.union([z.string(), z.array(UserBlock).min(1)]) }),
  z.looseObject({ role: z.literal('assistant'), content: z.union([z.string(), z.array(AssistantBlock)]) }),
  z.looseObject({ role: z.literal('system'), content: z.union([z.string(), z.array(Text).min(1)]) }),
]);

const Tool = z.looseObject({
  name: z.string(),
  description: z.string().nullish(),
  input_schema: z.looseObject({}).nullish(),
});

/** Taken without effect: the agent has its own model settings and its own tools. */
const ignored = {
  temperature: z.number().nullish(),
  top_p: z.number().nullish(),
  top_k: z.number().nullish(),
  thinking: z.looseObject({}).nullish(),
  service_tier: z.string().nullish(),
  tools: z.array(Tool).nullish(),
  tool_choice: z
    .discriminatedUnion('type', [
      z.looseObject({ type: z.enum(['auto', 'any', 'none']) }),
      z.looseObject({ type: z.literal('tool'), name: z.string() }),
    ])
    .nullish(),
};

const asked = {
  model: z.string().describe('An alias or a name of `GET /v1/models`'),
  messages: z.array(Message).min(1, 'must not be empty'),
  system: z.union([z.string(), z.array(Text)]).nullish(),
};

export const MessageRequestSchema = z.looseObject({
  ...asked,
  max_tokens: z.int().gte(1).describe('Wanted by the API; an agent has its budget instead'),
  stream: z.boolean().nullish(),
  stop_sequences: z.array(z.string()).max(16, 'more than 16').nullish(),
  metadata: z
    .looseObject({ user_id: z.string().max(512).nullish() })
    .nullish()
    .describe('Kept in that of the job'),
  output_config: z
    .looseObject({
      effort: z.enum(['low', 'medium', 'high', 'xhigh', 'max']).nullish(),
      format: z.looseObject({ type: z.literal('json_schema'), schema: z.looseObject({}) }).nullish(),
    })
    .nullish(),
  ...ignored,
});

export const CountRequestSchema = z.looseObject(asked);

export type MessageRequest = z.output<typeof MessageRequestSchema>;
export type AnthropicMessage = MessageRequest['messages'][number];
export type UserBlock = z.output<typeof UserBlock>;

/** The fields of a request that were taken and have no effect. Names of this file only: safe in a header. */
export function ignoredMessageParams(body: MessageRequest): readonly string[] {
  const forced = ['any', 'tool'].includes(body.tool_choice?.type ?? '') ? ['tools', 'tool_choice'] : [];
  return [...Object.keys(ignored), 'max_tokens'].filter((name) => body[name] != null && !forced.includes(name));
}

const tokens = z.int();
export const MessageSchema = z.looseObject({
  id: z.string(),
  type: z.literal('message'),
  role: z.literal('assistant'),
  model: z.string(),
  content: z.array(z.looseObject({ type: z.string() })),
  stop_reason: z.enum(['end_turn', 'max_tokens', 'stop_sequence', 'tool_use', 'refusal']).nullable(),
  stop_sequence: z.string().nullable(),
  usage: z.object({
    input_tokens: tokens,
    cache_creation_input_tokens: tokens,
    cache_read_input_tokens: tokens,
    output_tokens: tokens,
  }),
});

export type MessageObject = z.output<typeof MessageSchema>;
