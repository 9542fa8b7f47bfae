import { expect, test } from 'vitest';
import { docsPage } from '../../src/http/docs-page.ts';
import { asRecord, createNativeApp } from './native-app.ts';

async function openApi(): Promise<Record<string, unknown>> {
  const { get } = await createNativeApp();
  const response = await get('/openapi.json');
  expect(response.headers['content-type']).toBe('application/json; charset=utf-8');
  return asRecord(response.json());
}

interface Operation {
  readonly path: string;
  readonly method: string;
  readonly operation: Record<string, unknown>;
}

function operationsOf(document: Record<string, unknown>): readonly Operation[] {
  return Object.entries(asRecord(document['paths'])).flatMap(([path, item]) =>
    Object.entries(asRecord(item)).map(([method, operation]) => ({ path, method, operation: asRecord(operation) })),
  );
}

test('the document is OpenAPI 3.1 and holds exactly the routes that are there', async () => {
  const document = await openApi();
  expect(document).toMatchObject({ openapi: expect.stringMatching(/^3\.1\./), info: { version: '0.0.0' } });
  expect(
    operationsOf(document)
      .map(({ path, method }) => `${method} ${path}`)
      .filter((name) => !name.includes(' /v1/'))
      .sort(),
  ).toEqual([
    'get /docs',
    'get /health',
    'get /jobs',
    'get /jobs/{id}',
    'get /livez',
    'get /metrics',
    'get /openapi.json',
    'get /readyz',
    'post /execute',
    'post /jobs/{id}/cancel',
  ]);
});

test('every operation has a summary, says what it answers, and only the probes are open', async () => {
  const document = await openApi();
  expect(document).toMatchObject({
    security: [{ bearer: [] }],
    components: { securitySchemes: { bearer: { type: 'http', scheme: 'bearer' } } },
  });
  const open: string[] = [];
  for (const { path, operation } of operationsOf(document)) {
    expect(operation['summary']).toEqual(expect.any(String));
    const responses = asRecord(operation['responses']);
    expect(Object.keys(responses).some((status) => /^2\d\d$/.test(status))).toBe(true);
    for (const response of Object.values(responses))
      expect(asRecord(response)['description']).toEqual(expect.any(String));
    const isOpen = Array.isArray(operation['security']) && operation['security'].length === 0;
    if (isOpen) open.push(path);
    expect(Object.hasOwn(responses, '401')).toBe(!isOpen);
    const named = [...path.matchAll(/\{(\w+)\}/g)].map((match) => match[1]);
    const parameters = Array.isArray(operation['parameters']) ? operation['parameters'].map(asRecord) : [];
    const inPath = parameters.filter((parameter) => parameter['in'] === 'path');
    expect(inPath.map((parameter) => parameter['name'])).toEqual(named);
    expect(inPath.every((parameter) => parameter['required'] === true)).toBe(true);
  }
  expect(open.sort()).toEqual(['/health', '/livez', '/readyz']);
});

test('every reference resolves', async () => {
  const document = await openApi();
  const references = [...JSON.stringify(document).matchAll(/"\$ref":"([^"]+)"/g)].map((match) => match[1] ?? '');
  for (const reference of references) {
    expect(reference).toMatch(/^#\//);
    const target = reference
      .slice(2)
      .split('/')
      .reduce<unknown>((node, key) => asRecord(node)[key.replaceAll('~1', '/').replaceAll('~0', '~')], document);
    expect(target).toBeDefined();
  }
});

test('the body of a job is described as it is checked', async () => {
  const document = await openApi();
  const execute = operationsOf(document).find(({ path }) => path === '/execute')?.operation;
  expect(execute?.['requestBody']).toMatchObject({
    required: true,
    content: {
      'application/json': {
        schema: {
          type: 'object',
          required: ['prompt'],
          additionalProperties: false,
          properties: {
            prompt: { type: 'string', minLength: 1 },
            max_budget_usd: { type: 'number', exclusiveMinimum: 0, maximum: 1000, default: 5 },
            timeout_seconds: { type: 'integer', minimum: 1, maximum: 86_400, default: 2700 },
            metadata: { default: null },
          },
        },
      },
    },
  });
});

test('the document needs nothing but JSON to be read, and has no word of this machine', async () => {
  const text = JSON.stringify(await openApi());
  expect(text).not.toMatch(/undefined|\[object|node_modules|localhost/);
});

test('the page shows every route, and runs nothing', async () => {
  const { get } = await createNativeApp();
  const response = await get('/docs');
  expect(response.headers['content-type']).toBe('text/html; charset=utf-8');
  expect(response.headers['content-security-policy']).toContain("default-src 'none'");
  expect(response.body).toMatch(/^<!doctype html>/);
  for (const path of ['/execute', '/jobs/{id}', '/jobs/{id}/cancel', '/health', '/v1/models']) {
    expect(response.body).toContain(`<code>${path}</code>`);
  }
  expect(response.body).not.toMatch(
    /<script|javascript:|\son\w+=|<iframe|<img|<link|@import|url\(|undefined|\[object/i,
  );
  expect(response.body).not.toMatch(/(?:href|src)="(?!\/openapi\.json")/);
});

test('the page escapes every text of the document', () => {
  const evil = '<script>alert("1")</script>&\'';
  const schema = {
    type: evil,
    required: [evil],
    properties: {
      [evil]: { type: evil, description: evil, default: evil, minimum: evil, enum: [evil] },
      constant: { const: evil },
      either: { anyOf: [{ type: evil }, { items: { properties: { [evil]: {} } } }] },
    },
  };
  const content = { [evil]: { schema } };
  const operation = {
    summary: evil,
    description: evil,
    parameters: [{ name: evil, in: evil, description: evil, schema }],
    requestBody: { content },
    responses: { [evil]: { description: evil, content } },
  };
  const page = docsPage({
    info: { title: evil, version: evil, description: evil },
    paths: { [evil]: { get: operation, [evil]: operation } },
  });
  expect(page).toContain('&lt;script&gt;alert(');
  expect(page).not.toMatch(/<script|alert\("|&'/);
});
