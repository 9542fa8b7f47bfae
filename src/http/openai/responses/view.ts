import { isFinished, type JobRecord } from '../../../jobs/job.ts';
import type { AnswerForm } from '../answer-form.ts';
import { answerText } from '../answers.ts';
import { runError } from '../run-error.ts';
import { usageOf } from '../usage.ts';
import { callId, doorOf, responseId } from './door.ts';
import type { ResponseObject, ResponseRequest } from './schemas.ts';

/** A job as a response. Every key is there, null where it does not apply. */
export function responseView(job: JobRecord): ResponseObject {
  const door = doorOf(job);
  const form = door?.form ?? { kind: 'text', stops: [] };
  const status = statusOf(job);
  const ended = isFinished(job);
  const hasAnswer = status === 'completed' || status === 'incomplete';
  const error = ended && status === 'failed' ? runError(job) : null;
  return {
    id: responseId(job.id),
    object: 'response',
    created_at: seconds(job.createdAt),
    completed_at: status === 'completed' && job.finishedAt !== null ? seconds(job.finishedAt) : null,
    status,
    error: error === null ? null : { code: errorCode(error.status), message: error.message },
    incomplete_details: status === 'incomplete' ? { reason: 'max_output_tokens' } : null,
    model: job.spec.model ?? '',
    output: ended && hasAnswer ? [outputItem(job.id, form, answerText(job.outcome.report), 'completed')] : [],
    usage: ended ? usageView(job) : null,
    ...echoOf(door?.request ?? {}),
  };
}

/** One item of the output, while it is made or when it is whole. */
export function outputItem(jobId: string, form: AnswerForm, text: string, status: 'in_progress' | 'completed') {
  const part = jobId.slice('job_'.length);
  if (form.kind === 'call') {
    const call = { call_id: callId(jobId), name: form.name, arguments: text };
    return { type: 'function_call', id: `fc_${part}`, status, ...call };
  }
  const content = status === 'in_progress' ? [] : [textPart(text)];
  return { type: 'message', id: `msg_${part}`, status, role: 'assistant', content };
}

export function textPart(text: string) {
  return { type: 'output_text', annotations: [], logprobs: [], text };
}

function statusOf(job: JobRecord): ResponseObject['status'] {
  if (!isFinished(job)) return job.status === 'queued' ? 'queued' : 'in_progress';
  if (job.status === 'cancelled') return 'cancelled';
  if (runError(job) !== null) return 'failed';
  return job.status === 'completed' ? 'completed' : 'incomplete';
}

const tooManyRequests = 429;

/** The two of OpenAI's words that fit. */
function errorCode(status: number): string {
  return status === tooManyRequests ? 'rate_limit_exceeded' : 'server_error';
}

function usageView(job: JobRecord): ResponseObject['usage'] {
  const usage = usageOf(job.outcome?.report.usage ?? null);
  const { cached_tokens, cache_write_tokens } = usage.prompt_tokens_details;
  return {
    input_tokens: usage.prompt_tokens,
    input_tokens_details: { cached_tokens, cache_write_tokens },
    output_tokens: usage.completion_tokens,
    output_tokens_details: { reasoning_tokens: usage.completion_tokens_details.reasoning_tokens },
    total_tokens: usage.total_tokens,
  };
}

type Echo = Omit<
  ResponseObject,
  | 'id'
  | 'object'
  | 'created_at'
  | 'completed_at'
  | 'status'
  | 'error'
  | 'incomplete_details'
  | 'model'
  | 'output'
  | 'usage'
>;

/** What a response repeats of its request, with the defaults of the API. */
function echoOf(request: Partial<ResponseRequest>): Echo {
  return {
    background: request.background ?? false,
    instructions: request.instructions ?? null,
    max_output_tokens: request.max_output_tokens ?? null,
    max_tool_calls: request.max_tool_calls ?? null,
    metadata: { ...request.metadata },
    parallel_tool_calls: request.parallel_tool_calls ?? true,
    previous_response_id: request.previous_response_id ?? null,
    prompt_cache_key: request.prompt_cache_key ?? null,
    reasoning: { effort: request.reasoning?.effort ?? null, summary: null },
    safety_identifier: request.safety_identifier ?? null,
    service_tier: 'default',
    store: request.store ?? true,
    temperature: request.temperature ?? 1,
    presence_penalty: request.presence_penalty ?? 0,
    frequency_penalty: request.frequency_penalty ?? 0,
    text: textEcho(request.text),
    tool_choice: request.tool_choice ?? 'auto',
    tools: (request.tools ?? []).map(toolEcho),
    top_logprobs: 0,
    top_p: request.top_p ?? 1,
    truncation: request.truncation ?? 'disabled',
  };
}

function textEcho(text: ResponseRequest['text']): ResponseObject['text'] {
  const format = text?.format ?? { type: 'text' as const };
  if (format.type !== 'json_schema') return { ...text, format: { type: format.type } };
  const { name, description, schema } = format;
  return {
    ...text,
    format: { type: format.type, name, description: description ?? null, schema, strict: format['strict'] === true },
  };
}

function toolEcho(tool: NonNullable<ResponseRequest['tools']>[number]): ResponseObject['tools'][number] {
  if (tool.type !== 'function') return tool;
  const { name, description, parameters } = tool;
  return {
    type: 'function',
    name: name ?? '',
    description: description ?? null,
    parameters: parameters ?? null,
    strict: tool['strict'] !== false,
  };
}

function seconds(epochMs: number): number {
  return Math.floor(epochMs / 1000);
}
