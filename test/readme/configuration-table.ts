import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { ConfigSchema } from '../../src/config.ts';

/** The table of settings in the README, made of the schema that reads them. Run this file to write it anew. */

export const readmeFile = join(import.meta.dirname, '..', '..', 'README.md');
const begin = '<!-- settings: made by `node test/readme/configuration-table.ts` -->';
const end = '<!-- end of settings -->';

/** Defaults that another setting decides. */
const derived: Readonly<Record<string, string>> = { WORKSPACE_DIR: 'DATA_DIR/base', JOBS_DIR: 'DATA_DIR/jobs' };

export function configurationTable(): string {
  const { properties } = z
    .object({
      properties: z.record(z.string(), z.looseObject({ description: z.string(), default: z.string().nullish() })),
    })
    .parse(z.toJSONSchema(ConfigSchema, { io: 'input', unrepresentable: 'any' }));
  const rows = Object.entries(properties).map(([name, setting]) => {
    const value = derived[name] ?? setting.default ?? '';
    const shown = value === '' ? 'none' : `\`${value.replaceAll(',', ', ')}\``;
    return `| \`${name}\` | ${shown} | ${setting.description} |`;
  });
  return ['| variable | default | meaning |', '| --- | --- | --- |', ...rows].join('\n');
}

/** The README with the table between its two marks. Throws where the marks are not there. */
export function withTable(readme: string, table: string): string {
  const from = readme.indexOf(begin);
  const to = readme.indexOf(end);
  if (from === -1 || to < from) throw new Error('the README has no place for the settings');
  return `${readme.slice(0, from + begin.length)}\n\n${table}\n\n${readme.slice(to)}`;
}

if (import.meta.main) writeFileSync(readmeFile, withTable(readFileSync(readmeFile, 'utf8'), configurationTable()));
