import type { JsonObject } from '../../jobs/job.ts';
import { badRequest } from './errors.ts';
import { agentSchema } from './json-schema.ts';
import type { ChatRequest } from './schemas.ts';

/** In which form an answer is wanted. */
export type AnswerForm =
  | { readonly kind: 'text'; readonly stops: readonly string[] }
  /** The bare text of a JSON object. */
  | { readonly kind: 'json' }
  /** A call of one function; `legacy` in the words of before there were tools. */
  | { readonly kind: 'call'; readonly name: string; readonly legacy: boolean };

export interface WantedAnswer {
  readonly form: AnswerForm;
  /** What the answer's JSON has to fit; null where it is text. */
  readonly schema: JsonObject | null;
}

/** A function that must be called, as a request names it. */
export interface ForcedFunction {
  readonly name: string;
  readonly description?: string | null | undefined;
  readonly parameters?: unknown;
}

type FormFields = 'response_format' | 'stop' | 'tools' | 'tool_choice' | 'functions' | 'function_call';
export type FormRequest = Pick<ChatRequest, FormFields>;

/** How a refusal names the places of a request. */
export interface FormPlaces {
  readonly format: string;
  readonly schema: string;
  parameters(tool: number): string;
}

const chatPlaces: FormPlaces = {
  format: 'response_format',
  schema: 'response_format.json_schema.schema',
  parameters: (tool) => `tools[${tool}].function.parameters`,
};

/** Reads it from a request. Throws `OpenAiError` (400): a schema that is none, a function that is not there, two forms at once. */
export function wantedAnswer(body: FormRequest, places: FormPlaces = chatPlaces): WantedAnswer {
  const schema = formatSchema(body.response_format, places);
  const forced = forcedTool(body, places) ?? forcedFunction(body);
  const stops = [body.stop ?? []].flat().filter((stop) => stop !== '');
  if (schema === null && forced === null) return { form: { kind: 'text', stops }, schema: null };
  if (stops.length > 0) throw badRequest('stop: not supported where the answer is JSON', 'stop', 'unsupported_value');
  if (forced === null) return { form: { kind: 'json' }, schema };
  if (schema !== null) {
    const message = `${places.format}: not supported together with a function that must be called`;
    throw badRequest(message, places.format, 'unsupported_value');
  }
  return { form: { kind: 'call', name: forced.name, legacy: forced.legacy }, schema: forced.schema };
}

/** The schema of a function's arguments; its name and description tell the agent what they are for. */
export function functionSchema(forced: ForcedFunction, param: string): JsonObject {
  const schema = agentSchema(forced.parameters ?? { type: 'object', properties: {} }, param);
  const about = forced.description == null ? {} : { description: forced.description };
  return { title: forced.name, ...about, ...schema };
}

function formatSchema(format: ChatRequest['response_format'], places: FormPlaces): JsonObject | null {
  if (format == null || format.type === 'text') return null;
  if (format.type === 'json_object')
    return agentSchema(format['schema'] ?? { type: 'object' }, `${places.format}.schema`);
  const { name, description, schema } = format.json_schema;
  return functionSchema({ name, description, parameters: schema }, places.schema);
}

interface Forced {
  readonly name: string;
  readonly schema: JsonObject;
  readonly legacy: boolean;
}

function forcedTool({ tool_choice: choice, tools }: FormRequest, places: FormPlaces): Forced | null {
  if (choice == null || choice === 'auto' || choice === 'none') return null;
  const all = (tools ?? []).flatMap((tool) => (tool.type === 'function' ? [tool.function] : []));
  if (choice === 'required' && all.length > 1) {
    const message = 'tool_choice: "required" is supported with exactly one tool; name the function instead';
    throw badRequest(message, 'tool_choice', 'unsupported_value');
  }
  const name = choice !== 'required' && choice.type === 'function' ? choice.function.name : all[0]?.name;
  const index = all.findIndex((tool) => tool.name === name);
  const tool = all[index];
  if (tool === undefined) throw badRequest('tool_choice: no such function in tools', 'tool_choice', 'invalid_value');
  return {
    name: tool.name,
    schema: functionSchema({ ...tool, parameters: tool['parameters'] }, places.parameters(index)),
    legacy: false,
  };
}

function forcedFunction({ function_call: choice, functions }: FormRequest): Forced | null {
  if (choice == null || typeof choice === 'string') return null;
  const index = (functions ?? []).findIndex(({ name }) => name === choice.name);
  const found = functions?.[index];
  if (found === undefined)
    throw badRequest('function_call: no such function in functions', 'function_call', 'invalid_value');
  return {
    name: found.name,
    schema: functionSchema({ ...found, parameters: found['parameters'] }, `functions[${index}].parameters`),
    legacy: true,
  };
}
