import OpenAI7 from 'openai';
import OpenAI4 from 'openai-4';
import OpenAI5 from 'openai-5';

/** The SDKs of OpenAI in all the major versions that are in use, and what is the same in each of them. */

export interface ClientSettings {
  readonly baseURL: string;
  readonly apiKey: string;
  readonly maxRetries?: number;
  /** Of a request, in milliseconds. */
  readonly timeout?: number;
}

export interface Question {
  readonly model: string;
  readonly messages: { readonly role: 'user'; readonly content: string }[];
  readonly tools?: FunctionTool[];
  readonly tool_choice?: 'auto' | 'required' | { readonly type: 'function'; readonly function: { name: string } };
  readonly response_format?: JsonSchemaFormat;
  readonly n?: number;
}

interface FunctionTool {
  readonly type: 'function';
  readonly function: { name: string; parameters: Record<string, unknown> };
}

interface JsonSchemaFormat {
  readonly type: 'json_schema';
  readonly json_schema: { name: string; strict: boolean; schema: Record<string, unknown> };
}

interface Usage {
  readonly prompt_tokens: number;
  readonly completion_tokens: number;
  readonly total_tokens: number;
}

export interface Completion {
  readonly choices: readonly {
    readonly message: { readonly content: string | null; readonly tool_calls?: readonly unknown[] | undefined };
    readonly finish_reason: string;
  }[];
  readonly usage?: Usage | undefined;
}

export interface Chunk {
  readonly choices: readonly {
    readonly delta: { readonly content?: string | null };
    readonly finish_reason: string | null;
  }[];
  readonly usage?: Usage | null;
}

interface ResponseQuestion {
  readonly model: string;
  readonly input: string;
  readonly stream?: false;
}

interface ResponseAnswer {
  readonly id: string;
  readonly output_text: string;
  readonly output: readonly unknown[];
  readonly status?: string;
}

interface Options {
  readonly signal?: AbortSignal;
  /** In milliseconds. */
  readonly timeout?: number;
}

export interface OpenAiClient {
  readonly chat: {
    readonly completions: {
      create(
        body: Question & { readonly stream: true; readonly stream_options?: { include_usage: boolean } },
        options?: Options,
      ): PromiseLike<AsyncIterable<Chunk>>;
      create(body: Question & { readonly stream?: false }, options?: Options): PromiseLike<Completion>;
    };
  };
  readonly models: {
    list(): AsyncIterable<{ readonly id: string }>;
    retrieve(model: string): PromiseLike<{ readonly id: string; readonly owned_by: string }>;
  };
  readonly responses: {
    create(body: ResponseQuestion, options?: Options): PromiseLike<ResponseAnswer>;
    create(
      body: Omit<ResponseQuestion, 'stream'> & { readonly stream: true },
    ): PromiseLike<AsyncIterable<{ readonly type: string }>>;
    retrieve(id: string): PromiseLike<ResponseAnswer>;
  };
}

type ErrorClass = abstract new (...args: never[]) => Error;

export interface OpenAiSdk {
  readonly name: string;
  readonly create: (settings: ClientSettings) => OpenAiClient;
  /** `.parse()`, which is not in the same place everywhere. */
  readonly parse: (settings: ClientSettings, question: Question) => Promise<unknown>;
  /** `.stream()` of chat completions, to its last word. */
  readonly assembled: (settings: ClientSettings, question: Question) => Promise<Completion>;
  readonly errors: {
    readonly AuthenticationError: ErrorClass;
    readonly BadRequestError: ErrorClass;
    readonly NotFoundError: ErrorClass;
    readonly RateLimitError: ErrorClass;
    readonly InternalServerError: ErrorClass;
    readonly APIUserAbortError: ErrorClass;
  };
}

export const openAiSdks: readonly OpenAiSdk[] = [
  {
    name: 'openai 4',
    create: (settings) => new OpenAI4(settings),
    parse: async (settings, question) =>
      (await new OpenAI4(settings).beta.chat.completions.parse(question)).choices[0]?.message.parsed,
    assembled: async (settings, question) =>
      await new OpenAI4(settings).beta.chat.completions.stream(question).finalChatCompletion(),
    errors: OpenAI4,
  },
  {
    name: 'openai 5',
    create: (settings) => new OpenAI5(settings),
    parse: async (settings, question) =>
      (await new OpenAI5(settings).chat.completions.parse(question)).choices[0]?.message.parsed,
    assembled: async (settings, question) =>
      await new OpenAI5(settings).chat.completions.stream(question).finalChatCompletion(),
    errors: OpenAI5,
  },
  {
    name: 'openai 7',
    create: (settings) => new OpenAI7(settings),
    parse: async (settings, question) =>
      (await new OpenAI7(settings).chat.completions.parse(question)).choices[0]?.message.parsed,
    assembled: async (settings, question) =>
      await new OpenAI7(settings).chat.completions.stream(question).finalChatCompletion(),
    errors: OpenAI7,
  },
];

/** The same in the words of OpenAI and of Anthropic. */
export function ask(content: string) {
  return { model: 'sonnet', messages: [{ role: 'user' as const, content }] };
}
