import type { JobSpec } from '../../../jobs/job.ts';
import type { OpenAiSettings } from '../../app.ts';
import { type FormRequest, wantedAnswer } from '../answer-form.ts';
import type { MessagePlaces } from '../conversation.ts';
import { badRequest } from '../errors.ts';
import type { ChatMessage } from '../schemas.ts';
import { effortFor, jobOf, metadataOf } from '../translate.ts';
import { toDoor } from './door.ts';
import type { InputItem, ResponseRequest } from './schemas.ts';

const formPlaces = {
  format: 'text.format',
  schema: 'text.format.schema',
  parameters: (tool: number) => `tools[${tool}].parameters`,
};

/** A response as a job; `before` is the conversation that it goes on from. Throws `OpenAiError`, as chat completions do. */
export function responseJob(
  body: ResponseRequest,
  before: readonly ChatMessage[],
  settings: OpenAiSettings,
  maxPromptBytes: number,
): JobSpec {
  if (body.background === true && body.store === false)
    throw badRequest('background: only with a response that is stored', 'background', 'invalid_value');
  const { form, schema } = wantedAnswer(formRequest(body), formPlaces);
  const asked = messagesOf(body.input);
  const instructions: readonly ChatMessage[] = body.instructions
    ? [{ role: 'system', content: body.instructions }]
    : [];
  const spec = jobOf(
    {
      model: body.model,
      messages: [...instructions, ...before, ...asked.map(({ message }) => message)],
      effort: effortFor(body.reasoning?.effort),
      schema,
      metadata: metadataOf(body),
      places: placesOf(instructions.length, before.length, asked),
    },
    settings,
    maxPromptBytes,
  );
  const messages = [...before, ...asked.map(({ message }) => message)];
  return { ...spec, kind: body.background === true ? 'execute' : 'chat', door: toDoor(body, form, messages) };
}

interface AskedMessage {
  readonly message: ChatMessage;
  /** Where it stands in the request. */
  readonly place: string;
}

function placesOf(instructions: number, before: number, asked: readonly AskedMessage[]): MessagePlaces {
  return {
    all: 'input',
    content(index) {
      if (index < instructions) return 'instructions';
      return asked[index - instructions - before]?.place ?? 'previous_response_id';
    },
  };
}

export function messagesOf(input: ResponseRequest['input']): readonly AskedMessage[] {
  if (typeof input === 'string') return [{ message: { role: 'user', content: input }, place: 'input' }];
  return input.flatMap((item, index) => {
    const message = messageOf(item);
    return message === null ? [] : [{ message, place: `input[${index}].content` }];
  });
}

/** Null for what is left out. */
function messageOf(item: InputItem): ChatMessage | null {
  switch (item.type) {
    case 'message':
      return spoken(item);
    case 'function_call': {
      const call = { name: item.name, arguments: item.arguments };
      return {
        role: 'assistant',
        content: null,
        tool_calls: [{ id: item.call_id, type: 'function', function: call }],
      };
    }
    case 'function_call_output': {
      const { output } = item;
      const text = typeof output === 'string' ? output : output.map((part) => part.text).join('\n');
      return { role: 'tool', tool_call_id: item.call_id, content: text };
    }
    case 'reasoning':
    case 'item_reference':
      return null;
  }
}

type Message = Extract<InputItem, { type: 'message' }>;
type Part = Exclude<Message['content'], string>[number];

function spoken({ role, content }: Message): ChatMessage {
  if (role !== 'user') return { role, content: typeof content === 'string' ? content : content.map(textOf).join('\n') };
  return { role, content: typeof content === 'string' ? content : content.map(partOf) };
}

function textOf(part: Part): string {
  if (part.type === 'input_text' || part.type === 'output_text') return part.text;
  return part.type === 'refusal' ? part.refusal : '';
}

type ChatPart = Exclude<Extract<ChatMessage, { role: 'user' }>['content'], string>[number];

function partOf(part: Part): ChatPart {
  switch (part.type) {
    case 'input_image':
      return { type: 'image_url', image_url: { url: part.image_url ?? '' } };
    case 'input_file':
      return { type: 'file', file: { file_data: part.file_data, filename: part.filename } };
    default:
      return { type: 'text', text: textOf(part) };
  }
}

export function formRequest({ text, tools, tool_choice: choice }: ResponseRequest): FormRequest {
  const format = text?.format;
  return {
    response_format: format?.type === 'json_schema' ? { type: 'json_schema', json_schema: format } : format,
    // Only functions can be forced; the place of one is that among all.
    tools: tools?.map((tool) =>
      tool.type === 'function'
        ? { type: 'function', function: { ...tool, name: tool.name ?? '' } }
        : { type: 'function', function: { name: '' } },
    ),
    tool_choice:
      choice != null && typeof choice !== 'string' && choice.type === 'function'
        ? { type: 'function', function: { name: choice.name } }
        : typeof choice === 'string'
          ? choice
          : null,
    stop: null,
    functions: null,
    function_call: null,
  };
}
