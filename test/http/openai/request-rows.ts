import { expect } from 'vitest';

/** What becomes of each field of a chat request: the same rows as in the documentation of the front. */
export interface Row {
  readonly field: string;
  /** What differs from a question. */
  readonly body: object;
  /** What the job holds of it. */
  readonly job?: object;
  /** What the message of the answer holds. */
  readonly message?: object;
  /** It is taken without effect, and listed. */
  readonly ignored?: true;
  /** It is refused: the code, and the place where it is not the field. */
  readonly refused?: string;
  readonly param?: string;
  readonly status?: number;
}

export const png = 'data:image/png;base64,iVBORw0KGgo=';
export const pdf = 'data:application/pdf;base64,JVBERi0=';
const user = (content: unknown): object => ({ role: 'user', content });
const part = (content: object): object => ({ messages: [user([content])] });
const f = { type: 'function', function: { name: 'f', parameters: { type: 'object' } } };
const g = { type: 'function', function: { name: 'g', parameters: { type: 'object' } } };
const forced = { outputSchema: { title: 'f', type: 'object' } };
const called = { content: null, tool_calls: [{ type: 'function', function: { name: 'f' } }] };
const taken = (field: string, ...values: readonly unknown[]): readonly Row[] =>
  values.map((value) => ({ field, body: { [field]: value }, ignored: true }));
const refused = (field: string, value: unknown, code = 'unsupported_value', param = field): Row => ({
  field,
  body: { [field]: value },
  refused: code,
  param,
});

export const rows: readonly Row[] = [
  { field: 'model', body: { model: 'haiku' }, job: { model: 'haiku' } },
  { field: 'model', body: { model: 'claude-sonnet-4-6' }, job: { model: 'claude-sonnet-4-6' } },
  { field: 'model', body: { model: undefined }, job: { model: 'sonnet' } },
  { ...refused('model', 'gpt-4o', 'model_not_found'), status: 404 },
  {
    field: 'messages',
    body: {
      messages: [
        { role: 'system', content: 'A' },
        user('x'),
        { role: 'assistant', content: 'y' },
        { role: 'developer', content: [{ type: 'text', text: 'B' }] },
        user('z'),
      ],
    },
    job: {
      systemPrompt: 'A\n\nB',
      prompt: 'z',
      history: [
        { role: 'user', text: 'x' },
        { role: 'assistant', text: 'y' },
      ],
    },
  },
  {
    field: 'messages',
    body: {
      messages: [
        user('x'),
        {
          role: 'assistant',
          content: null,
          refusal: null,
          name: 'a',
          tool_calls: [{ ...f, id: 'c', function: { name: 'f', arguments: '{}' } }],
        },
        { role: 'tool', tool_call_id: 'c', content: 'r' },
        { role: 'function', name: 'f', content: 's' },
        user('z'),
      ],
    },
    job: {
      prompt: expect.stringMatching(
        /<tool_call id="c" name="f">[^]*<tool tool_call_id="c">\nr\n[^]*name="f">\ns\n[^]*\n\nz$/,
      ),
    },
  },
  {
    field: 'messages',
    body: {
      messages: [
        user([
          { type: 'text', text: 'a' },
          { type: 'text', text: 'b' },
        ]),
      ],
    },
    job: { prompt: 'a\nb' },
  },
  { field: 'messages', body: { messages: [user('--help')] }, job: { prompt: '--help' } },
  {
    field: 'messages',
    body: part({ type: 'image_url', image_url: { url: png, detail: 'low' } }),
    job: { attachments: [{ kind: 'image', mediaType: 'image/png' }] },
  },
  {
    field: 'messages',
    body: part({ type: 'file', file: { file_data: pdf, filename: 'a.pdf' } }),
    job: { attachments: [{ kind: 'document', mediaType: 'application/pdf' }] },
  },
  ...[
    { type: 'image_url', image_url: { url: 'https://example.org/a.png' } },
    { type: 'file', file: { file_id: 'file_1' } },
    { type: 'input_audio', input_audio: { data: 'AA==', format: 'wav' } },
  ].map((content) => ({ ...refused('messages', null), ...{ body: part(content), param: 'messages[0].content[0]' } })),
  refused('audio', { voice: 'alloy', format: 'mp3' }),
  refused('modalities', ['text', 'audio']),
  { field: 'modalities', body: { modalities: ['text'] } },
  refused('stream', 'true', 'invalid_type'),
  { field: 'stream', body: { stream: false }, message: { content: '{}' } },
  refused('stream_options', { include_usage: true }, 'invalid_value'),
  { field: 'response_format', body: { response_format: { type: 'text' } } },
  {
    field: 'response_format',
    body: { response_format: { type: 'json_schema', json_schema: { name: 'f', schema: { type: 'object' } } } },
    job: forced,
    message: { content: '{}' },
  },
  {
    field: 'response_format',
    body: { response_format: { type: 'json_object' } },
    job: { outputSchema: { type: 'object' } },
  },
  {
    field: 'response_format',
    body: { response_format: { type: 'json_object', schema: { type: 'object', required: ['a'] } } },
    job: { outputSchema: { type: 'object', required: ['a'] } },
  },
  refused(
    'response_format',
    { type: 'json_schema', json_schema: { name: 'f' } },
    'missing_required_parameter',
    'response_format.json_schema.schema',
  ),
  refused(
    'response_format',
    { type: 'json_schema', json_schema: { name: 'f', schema: { type: 'text' } } },
    'invalid_value',
    'response_format.json_schema.schema.type',
  ),
  ...(['none', 'minimal', 'low'] as const).map((effort) => ({
    field: 'reasoning_effort',
    body: { reasoning_effort: effort },
    job: { effort: 'low' },
  })),
  ...(['medium', 'high', 'xhigh', 'max'] as const).map((effort) => ({
    field: 'reasoning_effort',
    body: { reasoning_effort: effort },
    job: { effort },
  })),
  ...taken('max_completion_tokens', 1, 4096),
  ...taken('max_tokens', 1),
  { field: 'tools', body: { tools: [f, g] }, ignored: true, message: { content: '{}' } },
  { field: 'tool_choice', body: { tool_choice: 'auto' }, ignored: true },
  { field: 'tool_choice', body: { tool_choice: 'none' }, ignored: true },
  { field: 'tool_choice', body: { tools: [f, g], tool_choice: f }, job: forced, message: called },
  { field: 'tool_choice', body: { tools: [f], tool_choice: 'required' }, job: forced, message: called },
  { ...refused('tool_choice', 'required'), body: { tools: [f, g], tool_choice: 'required' } },
  refused('tool_choice', { type: 'allowed_tools', allowed_tools: {} }),
  refused('tool_choice', { type: 'custom', custom: { name: 'c' } }),
  refused('tools', [{ type: 'custom', custom: { name: 'c' } }], 'unsupported_value', 'tools[0]'),
  ...taken('functions', [{ name: 'f' }]),
  ...taken('function_call', 'auto', 'none'),
  {
    field: 'function_call',
    body: { functions: [f.function], function_call: { name: 'f' } },
    job: forced,
    message: { content: null, function_call: { name: 'f' } },
  },
  { field: 'n', body: { n: 1 } },
  refused('n', 2),
  { field: 'stop', body: { stop: '}' }, message: { content: '{' } },
  { field: 'stop', body: { stop: ['x', '}'] }, message: { content: '{' } },
  ...taken('temperature', 0, 1.5),
  ...taken('top_p', 0.5),
  ...taken('presence_penalty', -1),
  ...taken('frequency_penalty', 1),
  ...taken('seed', 7),
  ...taken('logit_bias', { 50256: -100 }),
  { field: 'top_logprobs', body: { top_logprobs: null } },
  ...taken('verbosity', 'low'),
  ...taken('prediction', { type: 'content', content: 'x' }),
  ...taken('prompt_cache_key', 'k'),
  ...taken('prompt_cache_options', {}),
  ...taken('prompt_cache_retention', '24h'),
  ...taken('service_tier', 'auto', 'flex'),
  ...taken('store', false, true),
  ...taken('safety_identifier', 'me'),
  ...taken('parallel_tool_calls', true),
  { field: 'logprobs', body: { logprobs: false } },
  refused('logprobs', true),
  { field: 'user', body: { user: 'me' }, job: { metadata: { user: 'me' } } },
  { field: 'metadata', body: { metadata: { team: 'a' } }, job: { metadata: { team: 'a' } } },
  { field: 'metadata', body: { user: 'me', metadata: { team: 'a' } }, job: { metadata: { user: 'me', team: 'a' } } },
  ...taken('web_search_options', {}),
  ...taken('moderation', {}),
  { field: 'vendor_key', body: { vendor_key: { a: 1 } } },
];
