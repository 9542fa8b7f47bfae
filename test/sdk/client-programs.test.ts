import { describe, expect, test } from 'vitest';
import { type ClientProgram, nodeClients, pythonClients } from './client-programs.ts';
import { jobsOf, type SharedService, shareFakeService, shareProgram } from './shared-service.ts';

/** What a client gets, and what each of its failing calls costs, whatever its own rules for trying again: one run. */

const shared = shareFakeService();
/** Where runs have little time. */
const impatient = shareFakeService({ OPENAI_COMPAT_TIMEOUT_SECONDS: '2', KILL_GRACE_SECONDS: '1' });

type Form = 'plain' | 'streamed' | 'parsed' | 'called' | 'a response' | 'a streamed response' | 'a parsed response';

interface Client {
  readonly program: ClientProgram;
  readonly name: string;
  readonly forms: readonly Form[];
  /** How often it asks where a call fails before its answer began; 1 unless told. */
  readonly tries?: number;
  /** What it says of a failure after its answer began, if these are words of its own. */
  readonly broken?: string;
}

const sdkForms: readonly Form[] = [
  'plain',
  'streamed',
  'parsed',
  'called',
  'a response',
  'a streamed response',
  'a parsed response',
];

const clients: readonly Client[] = [
  { program: pythonClients, name: 'openai', forms: sdkForms },
  { program: pythonClients, name: 'openai, async', forms: sdkForms },
  { program: pythonClients, name: 'Home Assistant', forms: ['streamed', 'parsed'] },
  { program: pythonClients, name: 'Open WebUI', forms: ['plain', 'streamed', 'parsed'] },
  {
    program: nodeClients,
    name: 'Agents SDK',
    forms: ['plain', 'streamed', 'parsed'],
    broken: 'terminal state "response.failed"',
  },
  { program: nodeClients, name: 'Agents SDK, chat', forms: ['plain', 'streamed', 'parsed'] },
  { program: nodeClients, name: 'LlamaIndex', forms: ['plain', 'streamed', 'parsed'] },
  // Streamed it repeats pieces and overlooks failures, whoever answers.
  { program: nodeClients, name: 'LlamaIndex, responses', forms: ['plain'] },
  { program: nodeClients, name: 'Mastra', forms: ['plain', 'streamed', 'parsed'] },
  { program: nodeClients, name: 'Mastra, responses', forms: ['plain', 'streamed', 'parsed'] },
  { program: nodeClients, name: 'Mastra, trying again', forms: ['plain'], tries: 3 },
  { program: nodeClients, name: 'Cline 3', forms: ['streamed'] },
];

const begun: ReadonlySet<Form> = new Set(['streamed', 'a streamed response']);
const structured: ReadonlySet<Form> = new Set(['parsed', 'called', 'a parsed response']);

const text = 'one two three four five six seven';

interface Failure {
  readonly kind: string;
  readonly directive: string;
  readonly service: SharedService;
  readonly told: string;
  readonly reason: string;
}

const failures: readonly Failure[] = [
  { kind: 'fails', directive: 'api-error: 500', service: shared, told: 'The agent failed', reason: 'agent_error' },
  { kind: 'crashes', directive: 'crash', service: shared, told: 'The agent', reason: 'signal' },
  {
    kind: 'finds its model too busy to go on',
    directive: 'api-error: 429',
    service: shared,
    told: 'rate limited',
    reason: 'agent_error',
  },
  { kind: 'takes too long', directive: 'forever', service: impatient, told: 'time limit', reason: 'timeout' },
];

const programs = [
  ['Python', pythonClients],
  ['Node', nodeClients],
] as const;

describe.each(programs)('for %s,', (_language, program) => {
  const call = shareProgram(program);
  const rows = clients
    .filter((client) => client.program === program)
    .flatMap(({ forms, ...client }) => forms.map((form) => ({ ...client, form })));
  const failing = failures.flatMap((failure) => rows.map((row) => ({ ...row, ...failure })));

  describe.skipIf(!program.isInstalled).concurrent('a client', () => {
    test.each(rows)('$name gets what it asked for: $form', async ({ name: client, form }) => {
      const directive = structured.has(form) ? 'structured: {"a":1}' : `say: ${text}`;
      const prompt = `${client}, ${form}\nusage: 70 3\n${directive}`;
      const { answer, error, tries } = await call(shared.settings(), { client, form, prompt });
      expect({ error, tries }).toEqual({ tries: 1 });
      expect(await runsOf(shared, prompt)).toMatchObject([{ status: 'completed' }]);
      const pieces = Array.isArray(answer) ? answer : [answer];
      expect(pieces.length > 1).toBe(begun.has(form));
      expect(begun.has(form) ? pieces.join('') : answer).toEqual(wanted(form));
    });

    test.each(failing)('$name, $form, pays one run that $kind', async (row) => {
      const { name: client, form, service } = row;
      const prompt = `${client}, ${form}, ${row.kind}\nusage: 1000 500\nsay: half an answer\n${row.directive}`;
      const { error, tries } = await call(service.settings(), { client, form, prompt });
      expect(error).toContain(begun.has(form) ? (row.broken ?? row.told) : row.told);
      expect(await runsOf(service, prompt)).toMatchObject([{ reason: row.reason }]);
      expect(tries).toBe(begun.has(form) ? 1 : (row.tries ?? 1));
    });
  });
});

function wanted(form: Form): unknown {
  if (form === 'called') return { pay: { a: 1 } };
  return structured.has(form) ? { a: 1 } : text;
}

/** The runs of one prompt: each call has another one, and some clients put instructions before it. */
async function runsOf(service: SharedService, prompt: string) {
  return (await jobsOf(service.get())).filter((job) => String(job['prompt']).includes(prompt));
}
