import type { Attachment, PastTurn } from '../../jobs/job.ts';
import { promptSchema } from '../routes/execute.ts';
import { readDataUrl } from './attachments.ts';
import { badRequest } from './errors.ts';
import { historyOf } from './history.ts';
import type { ChatMessage } from './schemas.ts';

export interface Conversation {
  readonly prompt: string;
  /** The system and developer messages, in their order; null where there are none. */
  readonly systemPrompt: string | null;
  readonly attachments?: readonly Attachment[];
  /** What was said before, where it can be turns of the agent's own; else it is told in the prompt. */
  readonly history?: readonly PastTurn[];
}

/** How a refusal names the place of a message's content, and of all messages. */
export interface MessagePlaces {
  content(index: number): string;
  readonly all: string;
}

const chatPlaces: MessagePlaces = { content: (index) => `messages[${index}].content`, all: 'messages' };

type UserPart = Exclude<Extract<ChatMessage, { role: 'user' }>['content'], string>[number];
type Turn = Exclude<ChatMessage, { role: 'system' | 'developer' }>;
type ToolCall = NonNullable<Extract<ChatMessage, { role: 'assistant' }>['tool_calls']>[number];

/**
 * What the agent is asked. The last user message is the prompt as it is; what was said before is its history. A conversation that
 * holds more than texts is a labelled transcript with that message as the task, and nothing is left out. Throws `OpenAiError` (400) that names the message that cannot be asked.
 */
export function conversation(asked: readonly ChatMessage[], maxBytes: number, places = chatPlaces): Conversation {
  const { messages, attachments } = withoutAttachments(asked);
  // Made once: to make one takes longer than to read a message.
  const allowed = promptSchema(maxBytes);
  messages.forEach((message, index) => checkMessage(message, places.content(index), allowed));
  const system = messages.filter(isSystem).map((message) => textOf(message.content));
  const turns = messages.filter(isTurn);
  const last = turns.findLastIndex(({ role }) => role === 'user');
  const task = turns[last];
  if (task === undefined)
    throw badRequest(`${places.all}: at least one must be of the user`, places.all, 'invalid_value');
  const systemPrompt = joined(system);
  const whole =
    turns.length === 1 ? textOf(task.content) : transcript(turns.slice(0, last), task, turns.slice(last + 1));
  for (const text of [whole, systemPrompt ?? '']) checkText(text, places.all, allowed);
  // Marks of attachments are numbered through: then all of it is told in one piece.
  const history = attachments.length > 0 || nameOf(task) !== '' || last < turns.length - 1 ? null : pastTurns(turns);
  const prompt = history === null ? whole : textOf(task.content);
  const asking = { prompt, systemPrompt, ...(history !== null && { history }) };
  if (attachments.length === 0) return asking;
  const size = attachments.reduce((sum, { data }) => sum + data.length, 0);
  if (size > maxBytes)
    throw badRequest(`${places.all}: attachments longer than ${maxBytes} bytes`, places.all, 'invalid_value');
  return { ...asking, attachments };
}

/** The messages with a mark in the place of each attachment, and the attachments in the order of the marks. */
function withoutAttachments(asked: readonly ChatMessage[]): {
  readonly messages: readonly ChatMessage[];
  readonly attachments: readonly Attachment[];
} {
  const attachments: Attachment[] = [];
  const textPart = (part: UserPart): UserPart => {
    if (part.type !== 'image_url' && part.type !== 'file') return part;
    const url = part.type === 'file' ? (part.file.file_data ?? '') : part.image_url.url;
    const name = part.type === 'file' && part.file.filename != null ? ` ${JSON.stringify(part.file.filename)}` : '';
    const read = readDataUrl(url);
    if (read === null) throw new Error('an attachment was let through that cannot be read');
    if (read.kind === 'text') return { type: 'text', text: `<file${name}>\n${read.text}\n</file>` };
    attachments.push(read.attachment);
    return { type: 'text', text: `[attached ${read.attachment.kind} ${attachments.length}${name}]` };
  };
  const messages = asked.map((message) =>
    message.role === 'user' && typeof message.content !== 'string'
      ? { ...message, content: message.content.map(textPart) }
      : message,
  );
  return { messages, attachments };
}

function transcript(before: readonly Turn[], task: Turn, after: readonly Turn[]): string {
  const name = task.role === 'user' && task.name != null ? ` ${JSON.stringify(task.name)}` : '';
  return [
    ...(before.length === 0 ? [] : ['The conversation so far:', ...before.map(labelled)]),
    `The message of the user${name} to answer now:`,
    // Nothing comes after it as a rule: then it needs no end.
    ...(after.length === 0
      ? [textOf(task.content)]
      : [labelled(task), 'What followed it, to be continued from there:']),
    ...after.map(labelled),
  ].join('\n\n');
}

/** The turns before the last one. */
function pastTurns(turns: readonly Turn[]): readonly PastTurn[] | null {
  return historyOf(
    turns.slice(0, -1).map((turn) => ({ role: turn.role, text: textOf(turn.content), isMore: isMore(turn) })),
  );
}

function isMore(turn: Turn): boolean {
  const isSaid = turn.role === 'user' || turn.role === 'assistant';
  // Of a turn that is text alone the label holds nothing else.
  return !isSaid || labelled(turn) !== `<${turn.role}>\n${textOf(turn.content)}\n</${turn.role}>` || hasRefusal(turn);
}

function hasRefusal({ content }: Turn): boolean {
  return Array.isArray(content) && content.some(({ type }) => type === 'refusal');
}

/** One turn with its role around it, and with what else it holds: names, refusals, calls of tools. */
function labelled(turn: Turn): string {
  const lines = [textOf(turn.content)];
  if (turn.role === 'assistant') {
    if (turn.refusal != null) lines.push(refusalText(turn.refusal));
    if (turn.function_call != null) lines.push(callText('', turn.function_call.name, turn.function_call.arguments));
    lines.push(...(turn.tool_calls ?? []).map(toolCallText));
  }
  const id = turn.role === 'tool' ? ` tool_call_id=${JSON.stringify(turn.tool_call_id)}` : '';
  const text = lines.filter((line) => line !== '').join('\n');
  return `<${turn.role}${id}${nameOf(turn)}>\n${text}\n</${turn.role}>`;
}

function nameOf(turn: Turn): string {
  return turn.role === 'tool' || turn.name == null ? '' : ` name=${JSON.stringify(turn.name)}`;
}

function toolCallText(call: ToolCall): string {
  const id = ` id=${JSON.stringify(call.id)}`;
  return call.type === 'function'
    ? callText(id, call.function.name, call.function.arguments)
    : callText(id, call.custom.name, call.custom.input);
}

function callText(id: string, name: string, input: string): string {
  return `<tool_call${id} name=${JSON.stringify(name)}>\n${input}\n</tool_call>`;
}

function refusalText(refusal: string): string {
  return `<refusal>\n${refusal}\n</refusal>`;
}

/** The text of a message: its parts are joined by newlines, because each may end in the middle of a line. */
function textOf(content: ChatMessage['content']): string {
  if (content == null) return '';
  if (typeof content === 'string') return content;
  return content.map((part) => partText(part)).join('\n');
}

function partText(part: { readonly type: string; readonly text?: unknown; readonly refusal?: unknown }): string {
  if (typeof part.refusal === 'string') return refusalText(part.refusal);
  return typeof part.text === 'string' ? part.text : '';
}

type TextSchema = ReturnType<typeof promptSchema>;

function checkMessage(message: ChatMessage, param: string, allowed: TextSchema): void {
  const text = textOf(message.content);
  if (message.role === 'user' && text.trim() === '')
    throw badRequest(`${param}: must not be empty`, param, 'invalid_value');
  checkText(isTurn(message) && message.role !== 'user' ? labelled(message) : text, param, allowed);
}

function checkText(text: string, param: string, allowed: TextSchema): void {
  const issue = text === '' ? undefined : allowed.safeParse(text).error?.issues[0];
  if (issue !== undefined) throw badRequest(`${param}: ${issue.message}`, param, 'invalid_value');
}

function isSystem(message: ChatMessage): message is Exclude<ChatMessage, Turn> {
  return message.role === 'system' || message.role === 'developer';
}

function isTurn(message: ChatMessage): message is Turn {
  return !isSystem(message);
}

function joined(texts: readonly string[]): string | null {
  const said = texts.filter((text) => text !== '');
  return said.length === 0 ? null : said.join('\n\n');
}
