/** The API as a page for people, made from the OpenAPI document: no script, no request to anywhere (docs/adr/0005). */

type Node = Readonly<Record<string, unknown>>;

const methods = ['get', 'post', 'put', 'patch', 'delete'] as const;

/** `document`: OpenAPI 3.1, trusted, as this service makes it. All texts in it are escaped. */
export function docsPage(document: object): string {
  const root = asNode(document);
  const info = asNode(root['info']);
  const title = `${text(info['title'])} ${text(info['version'])}`;
  const operations = Object.entries(asNode(root['paths'])).flatMap(([path, item]) =>
    methods.flatMap((method) => {
      const operation = asNode(item)[method];
      return operation === undefined ? [] : [operationSection(method, path, asNode(operation))];
    }),
  );
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>${title}</title><style>${style}</style></head>
<body><main><h1>${title}</h1><p>${text(info['description'])} For programs: <a href="/openapi.json">openapi.json</a>.</p>
${operations.join('\n')}
</main></body></html>
`;
}

function operationSection(method: string, path: string, operation: Node): string {
  const isPublic = Array.isArray(operation['security']) && operation['security'].length === 0;
  const content = Object.entries(asNode(asNode(operation['requestBody'])['content']));
  const bodies = content.map(([type, media]) => `<h3>Body: ${text(type)}</h3>${schemaList(asNode(media)['schema'])}`);
  return `<section><h2><code class="${method}">${method.toUpperCase()}</code> <code>${text(path)}</code></h2>
<p>${text(operation['summary'])}${isPublic ? ' <em>No token needed.</em>' : ''}</p>
${operation['description'] === undefined ? '' : `<p>${text(operation['description'])}</p>`}
${parameterList(operation['parameters'])}${bodies.join('')}<h3>Answers</h3>${answerList(asNode(operation['responses']))}</section>`;
}

function parameterList(parameters: unknown): string {
  if (!Array.isArray(parameters) || parameters.length === 0) return '';
  const rows = parameters.map(asNode).map((parameter) => {
    const where = `in ${text(parameter['in'])}${parameter['required'] === true ? ', required' : ''}`;
    const schema = asNode(parameter['schema']);
    return row(
      text(parameter['name']),
      `${where}, ${typeOf(schema)}`,
      parameter['description'] ?? schema['description'],
    );
  });
  return `<h3>Parameters</h3><dl>${rows.join('')}</dl>`;
}

function answerList(responses: Node): string {
  const answers = Object.entries(responses).map(([status, response]) => {
    const content = Object.entries(asNode(asNode(response)['content']));
    const description = text(asNode(response)['description']);
    const shapes = content.map(([type, media]) => `<p>${text(type)}</p>${schemaList(asNode(media)['schema'])}`);
    return `<details><summary><code>${text(status)}</code> ${description}</summary>${shapes.join('')}</details>`;
  });
  return answers.join('');
}

/** The fields of an object, nested; of anything else its type. */
function schemaList(schema: unknown): string {
  const node = asNode(schema);
  const required = Array.isArray(node['required']) ? node['required'] : [];
  const fields = Object.entries(asNode(node['properties'])).map(([name, field]) => {
    const child = asNode(field);
    const kind = `${typeOf(child)}${required.includes(name) ? '' : ', optional'}${defaultOf(child)}`;
    return row(text(name), kind, child['description'], hasFields(child) ? schemaList(child) : itemsOf(child));
  });
  return fields.length === 0 ? `<p>${typeOf(node)}</p>` : `<dl>${fields.join('')}</dl>`;
}

function itemsOf(schema: Node): string {
  const items = asNode(schema['items']);
  return hasFields(items) ? schemaList(items) : '';
}

function hasFields(schema: Node): boolean {
  return Object.keys(asNode(schema['properties'])).length > 0;
}

function typeOf(schema: Node): string {
  const options = [schema['anyOf'], schema['oneOf']].find(Array.isArray);
  if (options !== undefined) return [...new Set(options.map((option) => typeOf(asNode(option))))].join(' or ');
  if (Array.isArray(schema['enum'])) return `one of ${schema['enum'].map(text).join(', ')}`;
  if (schema['const'] !== undefined) return text(JSON.stringify(schema['const']));
  const type = Array.isArray(schema['type']) ? schema['type'].join(' or ') : schema['type'];
  const bounds = [
    schema['minimum'] === undefined ? '' : ` from ${text(schema['minimum'])}`,
    schema['exclusiveMinimum'] === undefined ? '' : ` above ${text(schema['exclusiveMinimum'])}`,
    schema['maximum'] === undefined ? '' : ` to ${text(schema['maximum'])}`,
  ];
  return `${text(type ?? 'any value')}${bounds.join('')}`;
}

function defaultOf(schema: Node): string {
  return schema['default'] === undefined ? '' : `, default ${text(JSON.stringify(schema['default']))}`;
}

function row(name: string, kind: string, description: unknown, nested = ''): string {
  return `<dt><code>${name}</code> <small>${kind}</small></dt><dd>${text(description ?? '')}${nested}</dd>`;
}

function asNode(value: unknown): Node {
  return typeof value === 'object' && value !== null ? { ...value } : {};
}

function text(value: unknown): string {
  const escapes: Readonly<Record<string, string>> = {
    '&': '&amp;',
    '<': '&lt;',
    '>': '&gt;',
    '"': '&quot;',
    "'": '&#39;',
  };
  return String(value).replace(/[&<>"']/g, (character) => escapes[character] ?? '');
}

const style = `
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
body { margin: 0; } main { max-width: 52rem; margin: 0 auto; padding: 1.5rem; }
section { border-top: 1px solid #8886; padding: .5rem 0 1rem; } h2 { font-size: 1.1rem; } h3 { font-size: .9rem; margin: .8rem 0 .2rem; }
code { font: .95em ui-monospace, monospace; } h2 code:first-child { padding: .1em .5em; border-radius: .3em; background: #8883; }
dl { margin: 0; padding-left: .8rem; border-left: 2px solid #8884; } dd { margin: 0 0 .4rem 1rem; } small { opacity: .75; } details { margin: .2rem 0; }`;
