import type { z } from 'zod';
import { invalidFields } from '../errors.ts';
import { badRequest, type OpenAiError } from './errors.ts';

type Issue = z.core.$ZodIssue;

/** As the schema of a route, with errors in the words of OpenAI: they tell a wrong type from a wrong value. */
export function validatorOf<T extends z.ZodType>(schema: T) {
  return (data: unknown): { value: z.output<T> } | { error: Error } => {
    const result = schema.safeParse(data, { reportInput: true });
    return result.success ? { value: result.data } : { error: requestError(result.error.issues) };
  };
}

/** The first wrong place of a request in OpenAI's words; `param` is its path, as in `messages[0].role`. */
function requestError(issues: readonly Issue[]): OpenAiError {
  const [first] = issues;
  if (first === undefined) throw new Error('a request was refused without a reason');
  const issue = deepest(first);
  const { path = '', message = '' } = invalidFields([issue])[0] ?? {};
  if (path === '') return badRequest('The request body must be a JSON object', null, null);
  const code = codeOf(issue);
  const text = code === 'missing_required_parameter' ? `Missing required parameter: '${path}'` : `${path}: ${message}`;
  return badRequest(text, path, code);
}

/** Where one of several shapes was expected, the complaint of the one that was meant: that which has the type of the value. */
function deepest(issue: Issue): Issue {
  if (issue.code !== 'invalid_union') return issue;
  const meant = issue.errors.find(([first]) => first !== undefined && !isOtherType(first));
  const inner = meant?.[0];
  return inner === undefined ? issue : deepest({ ...inner, path: [...issue.path, ...inner.path] });
}

function isOtherType(issue: Issue): boolean {
  return issue.path.length === 0 && (issue.code === 'invalid_type' || issue.code === 'invalid_value') && !isText(issue);
}

/** A choice between texts that got another text. */
function isText(issue: Issue): boolean {
  return issue.code === 'invalid_value' && typeof issue.input === 'string';
}

function codeOf(issue: Issue): string {
  if (issue.code === 'custom')
    return typeof issue.params?.['code'] === 'string' ? issue.params['code'] : 'invalid_value';
  const value = valueOf(issue);
  if (value === undefined) return 'missing_required_parameter';
  if (issue.code === 'invalid_type') return 'invalid_type';
  const isChoice = issue.code === 'invalid_value' || issue.code === 'invalid_union';
  return isChoice && typeof value !== 'string' ? 'invalid_type' : 'invalid_value';
}

/** What stood at the issue's path. The issue of an unknown discriminator holds the object around it. */
function valueOf(issue: Issue): unknown {
  const { input } = issue;
  if (issue.code !== 'invalid_union' || issue.discriminator === undefined) return input;
  return typeof input === 'object' && input !== null
    ? Object.getOwnPropertyDescriptor(input, issue.discriminator)?.value
    : input;
}
