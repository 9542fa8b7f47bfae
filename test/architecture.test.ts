import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';

const root = join(import.meta.dirname, '..');
const maxLines = 300;

/**
 * Who may import whom: `main → service → http, agents, workspaces, store, queue, telemetry → jobs`, and `agents, workspaces →
 * process`. A part is a folder of `src`, or a file directly in it. Types count: a type is knowledge too. Adapters take typed
 * options of their own, so the configuration is known to `main` and `service` alone.
 */
const mayImport: Readonly<Record<string, readonly string[]>> = {
  main: ['service', 'config'],
  service: ['config', 'http', 'agents', 'workspaces', 'store', 'queue', 'telemetry', 'jobs', 'process'],
  config: [],
  http: ['jobs', 'telemetry'],
  agents: ['jobs', 'process'],
  workspaces: ['jobs', 'process'],
  store: ['jobs'],
  queue: ['jobs'],
  telemetry: ['jobs'],
  jobs: [],
  process: [],
};

/** Each package (with what belongs to its scope or family) and the parts that may know it. */
const packageOwners: readonly (readonly [pattern: RegExp, owners: readonly string[]])[] = [
  [/^execa$/, ['process', 'workspaces', 'agents']],
  [/^simple-git$/, ['workspaces']],
  [/^node:sqlite$/, ['store']],
  // `service` names the type of the application that it hands to `main`.
  [/^fastify$/, ['http', 'service']],
  [/^(?:@fastify\/|fastify-)/, ['http']],
  [/^p-queue$/, ['queue']],
  [/^(?:pino|prom-client)$/, ['telemetry']],
];

/** Code that only `main.ts` may hold: whoever imports a module must not find it reading the environment or exiting. */
const mainOnly: readonly (readonly [pattern: RegExp, what: string])[] = [
  [/\bprocess\s*\.\s*env\b/, 'process.env'],
  [/\bprocess\s*\.\s*exit(?:Code)?\b/, 'process.exit'],
  [/\bfrom\s+['"](?:node:)?process['"]/, 'node:process'],
];

describe('the layout of src', () => {
  const files = readdirSync(join(root, 'src'), { recursive: true, encoding: 'utf8' }).filter((f) => f.endsWith('.ts'));

  test('every file keeps to the table of imports, packages and globals', () => {
    const problems = files.flatMap((file) => problemsOf(file, readFileSync(join(root, 'src', file), 'utf8')));
    expect(files.length).toBeGreaterThan(0);
    expect(problems).toEqual([]);
  });
});

describe('the checker itself', () => {
  test.each([
    ['jobs/run.ts', `import { a } from '../store/a.ts';`, 'jobs/run.ts: jobs may not import store'],
    ['jobs/run.ts', `import type {\n  A,\n  B,\n} from '../agents/a.ts';`, 'jobs/run.ts: jobs may not import agents'],
    ['http/routes/a.ts', `import '../../store/a.ts';`, 'http/routes/a.ts: http may not import store'],
    ['http/a.ts', `export * from '../queue/a.ts';`, 'http/a.ts: http may not import queue'],
    ['http/a.ts', `const b = await import('../agents/b.ts');`, 'http/a.ts: http may not import agents'],
    ['http/a.ts', `new Worker(new URL('../store/w.ts', import.meta.url));`, 'http/a.ts: http may not import store'],
    ['store/a.ts', `import type { Config } from '../config.ts';`, 'store/a.ts: store may not import config'],
    ['utils/a.ts', '', 'utils/a.ts: utils is not a part of the layout'],
    ['agents/a.ts', `import { b } from '../../test/b.ts';`, 'agents/a.ts: ../../test/b.ts is outside src'],
    ['http/a.ts', `import { execa } from 'execa';`, 'http/a.ts: http may not import execa'],
    [
      'store/a.ts',
      `import bearer from '@fastify/bearer-auth';`,
      'store/a.ts: store may not import @fastify/bearer-auth',
    ],
    ['jobs/a.ts', `import PQueue from 'p-queue';`, 'jobs/a.ts: jobs may not import p-queue'],
    ['jobs/a.ts', `const a = process.env['A'];`, 'jobs/a.ts: process.env belongs to main.ts'],
    ['jobs/a.ts', `process.exit(1);`, 'jobs/a.ts: process.exit belongs to main.ts'],
    ['jobs/a.ts', `import { env } from 'node:process';`, 'jobs/a.ts: node:process belongs to main.ts'],
    ['jobs/a.ts', '\n'.repeat(maxLines + 1), `jobs/a.ts: ${maxLines + 1} lines, allowed are ${maxLines}`],
  ])('%s with %j is reported', (file, text, problem) => {
    expect(problemsOf(file, text)).toEqual([problem]);
  });

  test.each([
    ['main.ts', `import { createService } from './service.ts';\nprocess.exit(process.env['A'] ? 0 : 1);`],
    ['service.ts', `import { a } from './store/a.ts';\nimport type { FastifyInstance } from 'fastify';`],
    ['agents/a.ts', `import { b } from '../process/b.ts';\nimport { c } from './c.ts';\nimport { z } from 'zod';`],
    ['store/a.ts', `// see process.env and import('../http/a.ts')\n/* import '../http/a.ts' */\nimport 'node:sqlite';`],
    ['jobs/a.ts', '\n'.repeat(maxLines)],
  ])('%s with %j passes', (file, text) => {
    expect(problemsOf(file, text)).toEqual([]);
  });
});

/** What is wrong with a file of `src`, one sentence each. `file` is relative to `src`. */
function problemsOf(file: string, text: string): readonly string[] {
  const part = partOf(file);
  const code = withoutComments(text);
  const lines = text.split('\n').length - 1;
  return [
    ...(part in mayImport ? [] : [`${part} is not a part of the layout`]),
    ...importsOf(code).flatMap((specifier) => problemOfImport(file, part, specifier)),
    ...mainOnly.flatMap(([pattern, what]) =>
      part !== 'main' && pattern.test(code) ? [`${what} belongs to main.ts`] : [],
    ),
    ...(lines > maxLines ? [`${lines} lines, allowed are ${maxLines}`] : []),
  ].map((problem) => `${file}: ${problem}`);
}

function problemOfImport(file: string, part: string, specifier: string): readonly string[] {
  if (specifier.startsWith('.')) {
    const target = join(file, '..', specifier);
    if (target.startsWith('..')) return [`${specifier} is outside src`];
    const targetPart = partOf(target);
    const allowed = targetPart === part || mayImport[part]?.includes(targetPart);
    return allowed ? [] : [`${part} may not import ${targetPart}`];
  }
  const owners = packageOwners.find(([pattern]) => pattern.test(specifier))?.[1];
  return owners === undefined || owners.includes(part) ? [] : [`${part} may not import ${specifier}`];
}

function partOf(file: string): string {
  return file.split('/')[0]?.replace(/\.ts$/, '') ?? '';
}

/** The specifiers of all static and dynamic imports, re-exports, and files named relative to the module (workers). */
function importsOf(code: string): readonly string[] {
  const statements = /^\s*(?:import|export)\s+(?:[\w$*\s{},]+?\s+from\s+)?['"]([^'"]+)['"]/gm;
  const dynamic = /\bimport\s*\(\s*['"]([^'"]+)['"]/g;
  const modules = /\bnew\s+URL\(\s*['"]([^'"]+\.ts)['"]\s*,\s*import\.meta\.url/g;
  return [statements, dynamic, modules].flatMap((pattern) =>
    [...code.matchAll(pattern)].map((match) => match[1] ?? ''),
  );
}

/** Comments may name what code may not. A `//` after a colon is an address in a string. */
function withoutComments(text: string): string {
  return text.replace(/\/\*[\s\S]*?\*\//g, '').replace(/(^|[^:])\/\/.*$/gm, '$1');
}
