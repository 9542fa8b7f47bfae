import type { JobSpec, JsonObject } from '../../jobs/job.ts';
import type { OpenAiSettings } from '../app.ts';
import { type AnswerForm, functionSchema, type WantedAnswer } from '../openai/answer-form.ts';
import { badRequest } from '../openai/errors.ts';
import { agentSchema } from '../openai/json-schema.ts';
import type { ChatMessage } from '../openai/schemas.ts';
import { jobOf } from '../openai/translate.ts';
import type { AnthropicMessage, MessageRequest, UserBlock } from './schemas.ts';

/** A request of the Messages API as a job, and the form in which its answer is wanted. Throws `OpenAiError`. */
export function messageJob(
  body: MessageRequest,
  settings: OpenAiSettings,
  maxPromptBytes: number,
): { readonly spec: JobSpec; readonly form: AnswerForm } {
  const { form, schema } = wanted(body);
  const { messages, places } = messagesOf(body);
  const userId = body.metadata?.user_id;
  const spec = jobOf(
    {
      model: body.model,
      messages,
      effort: body.output_config?.effort ?? null,
      schema,
      metadata: userId == null ? null : { user: userId },
      places: { all: 'messages', content: (index) => places[index] ?? 'system' },
    },
    settings,
    maxPromptBytes,
  );
  return { spec, form };
}

/** The messages in the words of chat completions, and where each stands in the request. */
export function messagesOf({ system, messages }: Pick<MessageRequest, 'system' | 'messages'>) {
  const prompt: readonly ChatMessage[] = system == null ? [] : [{ role: 'system', content: textOf(system) }];
  const asked = messages.map(chatMessages);
  const places = [
    ...prompt.map(() => 'system'),
    ...asked.flatMap((many, index) => many.map(() => `messages[${index}].content`)),
  ];
  return { messages: [...prompt, ...asked.flat()], places };
}

function wanted({ tool_choice: choice, tools, output_config: output, stop_sequences }: MessageRequest): WantedAnswer {
  const stops = (stop_sequences ?? []).filter((stop) => stop !== '');
  const forced = forcedTool(choice, tools ?? []);
  const format = output?.format?.schema;
  if (forced === null && format === undefined) return { form: { kind: 'text', stops }, schema: null };
  if (stops.length > 0)
    throw badRequest('stop_sequences: not supported where the answer is JSON', 'stop_sequences', 'unsupported_value');
  if (forced !== null) return { form: { kind: 'call', name: forced.name, legacy: false }, schema: forced.schema };
  return { form: { kind: 'json' }, schema: agentSchema(format, 'output_config.format.schema') };
}

interface Forced {
  readonly name: string;
  readonly schema: JsonObject;
}

function forcedTool(choice: MessageRequest['tool_choice'], tools: NonNullable<MessageRequest['tools']>): Forced | null {
  if (choice == null || choice.type === 'auto' || choice.type === 'none') return null;
  if (choice.type === 'any' && tools.length > 1)
    throw badRequest('tool_choice: "any" is supported with exactly one tool', 'tool_choice', 'unsupported_value');
  const index = choice.type === 'any' ? 0 : tools.findIndex(({ name }) => name === choice.name);
  const tool = tools[index];
  if (tool === undefined) throw badRequest('tool_choice: no such tool in tools', 'tool_choice', 'invalid_value');
  const { name, description, input_schema: parameters } = tool;
  return { name, schema: functionSchema({ name, description, parameters }, `tools[${index}].input_schema`) };
}

/** A message with results of tools is several of chat completions. */
function chatMessages({ role, content }: AnthropicMessage): readonly ChatMessage[] {
  if (role === 'system') return [{ role, content: textOf(content) }];
  if (typeof content === 'string') return [{ role, content }];
  if (role === 'assistant') return [assistantMessage(content)];
  const results = content.flatMap((block): readonly ChatMessage[] =>
    block.type === 'tool_result' ? [{ role: 'tool', tool_call_id: block.tool_use_id, content: resultText(block) }] : [],
  );
  const parts = content.flatMap((block) => (block.type === 'tool_result' ? attachedTo(block) : [partOf(block)]));
  return parts.length === 0 ? results : [...results, { role: 'user', content: parts }];
}

type AssistantBlock = Exclude<Extract<AnthropicMessage, { role: 'assistant' }>['content'], string>[number];

function assistantMessage(blocks: readonly AssistantBlock[]): ChatMessage {
  const calls = blocks.flatMap((block) =>
    block.type === 'tool_use'
      ? [
          {
            type: 'function' as const,
            id: block.id,
            function: { name: block.name, arguments: JSON.stringify(block.input) },
          },
        ]
      : [],
  );
  const texts = blocks.flatMap((block) => (block.type === 'text' ? [block.text] : []));
  return { role: 'assistant', content: texts.join('\n'), ...(calls.length > 0 && { tool_calls: calls }) };
}

type ToolResult = Extract<UserBlock, { type: 'tool_result' }>;
type ChatPart = Exclude<Extract<ChatMessage, { role: 'user' }>['content'], string>[number];

function resultText({ content, is_error }: ToolResult): string {
  const text = content == null ? '' : textOf(content);
  return is_error === true ? `<error>\n${text}\n</error>` : text;
}

/** Pictures in a result of a tool come with the message that holds it. */
function attachedTo({ content }: ToolResult): readonly ChatPart[] {
  return content == null || typeof content === 'string'
    ? []
    : content.filter((block) => block.type !== 'text').map(partOf);
}

function partOf(block: Exclude<UserBlock, ToolResult>): ChatPart {
  if (block.type === 'text') return { type: 'text', text: block.text };
  const { source } = block;
  const name = block.type === 'document' ? block.title : null;
  if (source.type === 'base64') return filePart(`data:${source.media_type};base64,${source.data}`, name);
  const text = source.type === 'text' ? source.data : '';
  return filePart(`data:text/plain;base64,${Buffer.from(text).toString('base64')}`, name);
}

function filePart(url: string, filename: string | null | undefined): ChatPart {
  return { type: 'file', file: { file_data: url, filename } };
}

function textOf(content: string | readonly { readonly type: string; readonly text?: unknown }[]): string {
  if (typeof content === 'string') return content;
  return content.flatMap(({ text }) => (typeof text === 'string' ? [text] : [])).join('\n');
}
