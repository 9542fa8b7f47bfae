import { pdf, png } from './request-rows.ts';

/** A request with every field, and null in the place of one of them. */
export interface Nulled {
  readonly path: string;
  /** Null is refused there: the API wants something, or another field makes no sense without it. */
  readonly required: boolean;
  readonly body: object;
}

const schema = { type: 'object' };
const text = { type: 'text', text: 'See' };
const parameters = { name: 'f', description: 'd', parameters: schema, strict: true };

export const fullChat = {
  model: 'sonnet',
  messages: [
    { role: 'system', content: 'Be brief', name: 's' },
    {
      role: 'user',
      content: [
        text,
        { type: 'image_url', image_url: { url: png, detail: 'low' } },
        { type: 'file', file: { file_data: pdf, filename: 'a.pdf', file_id: 'f' } },
      ],
      name: 'u',
    },
    {
      role: 'assistant',
      content: 'x',
      refusal: 'no',
      name: 'a',
      audio: null,
      tool_calls: [{ id: 'c', type: 'function', function: { name: 'f', arguments: '{}' } }],
      function_call: { name: 'f', arguments: '{}' },
    },
    { role: 'tool', content: 'r', tool_call_id: 'c' },
    { role: 'function', content: 'r', name: 'f' },
    { role: 'user', content: 'Go on' },
  ],
  reasoning_effort: 'low',
  stream: true,
  stream_options: { include_usage: true, include_obfuscation: false },
  user: 'me',
  metadata: { team: 'a' },
  n: 1,
  stop: [],
  response_format: { type: 'json_schema', json_schema: { name: 'f', description: 'd', schema, strict: true } },
  logprobs: false,
  top_logprobs: 0,
  audio: null,
  modalities: ['text'],
  temperature: 1,
  top_p: 1,
  presence_penalty: 0,
  frequency_penalty: 0,
  seed: 7,
  logit_bias: {},
  max_tokens: 1,
  max_completion_tokens: 1,
  verbosity: 'low',
  prediction: { type: 'content', content: 'x' },
  prompt_cache_key: 'k',
  prompt_cache_options: {},
  prompt_cache_retention: '24h',
  service_tier: 'auto',
  store: false,
  safety_identifier: 'me',
  parallel_tool_calls: true,
  web_search_options: {},
  moderation: {},
  tools: [{ type: 'function', function: parameters }],
  tool_choice: 'auto',
  functions: [parameters],
  function_call: 'none',
};

/** There null is refused; `stream` because options of a stream stand beside it. */
export const requiredInChat = new RegExp(
  [
    String.raw`^messages$`,
    String.raw`\.(?:role|type|text|image_url|url|file|file_data|tool_call_id|arguments|json_schema|schema)$`,
    String.raw`(?:function|functions\[0\]|function_call|json_schema|messages\[4\])\.name$`,
    String.raw`tool_calls\[0\]\.(?:id|function)$`,
    String.raw`^tools\[0\]\.function$`,
    String.raw`^messages\[[0135]\]\.content$`,
    String.raw`^stream$`,
  ].join('|'),
);

export const fullResponse = {
  model: 'sonnet',
  input: [
    {
      type: 'message',
      role: 'user',
      id: 'm',
      status: 'completed',
      content: [
        { type: 'input_text', text: 'See' },
        { type: 'input_image', image_url: png, detail: 'low', file_id: null },
        { type: 'input_file', file_data: pdf, filename: 'a.pdf', file_id: null, file_url: null },
      ],
    },
    { type: 'reasoning', id: 'r', summary: [] },
    { type: 'function_call', id: 'i', call_id: 'c', name: 'f', arguments: '{}', status: 'completed' },
    { type: 'function_call_output', id: 'o', call_id: 'c', output: 'r', status: 'completed' },
    { role: 'user', content: 'Go on' },
  ],
  instructions: 'Be brief',
  previous_response_id: null,
  stream: true,
  stream_options: { include_obfuscation: false },
  background: false,
  store: true,
  text: { format: { type: 'json_schema', name: 'f', description: 'd', schema, strict: true }, verbosity: 'low' },
  reasoning: { effort: 'low', summary: 'auto' },
  user: 'me',
  metadata: { team: 'a' },
  conversation: null,
  prompt: null,
  top_logprobs: 0,
  temperature: 1,
  top_p: 1,
  presence_penalty: 0,
  frequency_penalty: 0,
  max_output_tokens: 100,
  max_tool_calls: 5,
  parallel_tool_calls: true,
  truncation: 'auto',
  service_tier: 'auto',
  safety_identifier: 'me',
  prompt_cache_key: 'k',
  include: [],
  tools: [{ type: 'function', ...parameters }],
  tool_choice: 'auto',
};

export const requiredInResponse = new RegExp(
  [
    String.raw`^input$`,
    String.raw`\.(?:role|type|text|image_url|file_data|call_id|arguments|content|output|schema)$`,
    String.raw`(?:format|input\[2\])\.name$`,
  ].join('|'),
);

export const fullMessage = {
  model: 'sonnet',
  max_tokens: 100,
  system: [{ type: 'text', text: 'Be brief', cache_control: { type: 'ephemeral' } }],
  messages: [
    {
      role: 'user',
      content: [text, { type: 'image', source: { type: 'base64', media_type: 'image/png', data: 'AA==' } }],
    },
    {
      role: 'assistant',
      content: [
        { type: 'thinking', thinking: 'x', signature: 'y' },
        { type: 'tool_use', id: 't', name: 'f', input: {} },
      ],
    },
    { role: 'user', content: [{ type: 'tool_result', tool_use_id: 't', content: 'r', is_error: false }] },
    { role: 'user', content: 'Go on' },
  ],
  stream: true,
  stop_sequences: [],
  metadata: { user_id: 'me' },
  output_config: { effort: 'low', format: null },
  temperature: 1,
  top_p: 1,
  top_k: 1,
  thinking: { type: 'disabled' },
  service_tier: 'auto',
  tools: [{ name: 'f', description: 'd', input_schema: schema, cache_control: { type: 'ephemeral' } }],
  tool_choice: { type: 'auto', disable_parallel_tool_use: true },
};

export const requiredInMessage = new RegExp(
  [
    String.raw`^(?:model|max_tokens|messages|messages\[\d\]\.content)$`,
    String.raw`^(?!thinking).*\.(?:role|type|text|source|media_type|data|id|tool_use_id|input|name)$`,
  ].join('|'),
);

/** Every field of a body, once each, as null. Free-form values are not looked into. */
export function nulled(body: object, required: RegExp): readonly Nulled[] {
  return pathsOf(body, '').map((path) => ({
    path,
    required: required.test(path),
    body: { ...Object(replaced(body, '', path)) },
  }));
}

const freeForm = new Set(['metadata', 'schema', 'parameters', 'input_schema', 'prediction', 'cache_control']);

function pathsOf(value: unknown, path: string): readonly string[] {
  if (Array.isArray(value)) return value.flatMap((item, index) => pathsOf(item, `${path}[${index}]`));
  if (typeof value !== 'object' || value === null) return [];
  return Object.entries(value).flatMap(([key, inner]) => {
    const own = path === '' ? key : `${path}.${key}`;
    return [own, ...(freeForm.has(key) ? [] : pathsOf(inner, own))];
  });
}

function replaced(value: unknown, path: string, at: string): unknown {
  if (path === at) return null;
  if (Array.isArray(value)) return value.map((item, index) => replaced(item, `${path}[${index}]`, at));
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, inner]) => [key, replaced(inner, path === '' ? key : `${path}.${key}`, at)]),
  );
}
