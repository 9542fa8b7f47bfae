import { execFile } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, test } from 'vitest';
import { configurationTable, readmeFile, withTable } from './configuration-table.ts';

const root = dirname(readmeFile);
const readme = readFileSync(readmeFile, 'utf8');

describe('the README', () => {
  test('shows every setting as the schema has it', () => {
    const cells = (text: string) => text.replaceAll(/ +/g, ' ').replaceAll(/-{3,}/g, '---');
    expect(cells(withTable(readme, configurationTable()))).toBe(cells(readme));
  });

  test('links only to files that are there', () => {
    const links = [...readme.matchAll(/\]\(([^)#:]+)\)/g)].map((match) => match[1] ?? '');
    expect(links.length).toBeGreaterThan(0);
    expect(links.filter((link) => !existsSync(join(root, link)))).toEqual([]);
  });

  test('names only scripts that package.json has', () => {
    const { scripts } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { scripts: object };
    const named = [...readme.matchAll(/(?:^|&& |`)npm (?:run )?([a-z]+)/gm)].map((match) => match[1] ?? '');
    const known = new Set([...Object.keys(scripts), 'ci', 'cit']);
    expect(named.length).toBeGreaterThan(0);
    expect(named.filter((name) => !known.has(name))).toEqual([]);
  });

  test('promises a demo that works, with no key and no network', { timeout: 120_000 }, async () => {
    const env = { PATH: `${join(root, 'node_modules', '.bin')}:/usr/local/bin:/usr/bin:/bin` };
    const { stdout } = await promisify(execFile)('npm', ['run', '-s', 'demo'], { cwd: root, env });
    expect(stdout).toContain('"status": "completed"');
    expect(stdout).toContain('It holds one line: Hello, world!');
    expect(stdout).toMatch(/\d+ agent .*tool_call/);
    expect(stdout).toMatch(/\d+ end .*"status":"completed"/);
    expect(stdout).toContain('"cost_usd":');
    expect(stdout).toContain('+Hello, agents!');
    expect(stdout).toContain('+Greeted.');
    expect(stdout).toContain('the service exits with 0');
  });
});
