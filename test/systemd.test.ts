import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { z } from 'zod';
import { readConfig } from '../src/config.ts';

const root = join(import.meta.dirname, '..');
const unit = readFileSync(join(root, 'deploy/agent-service.service'), 'utf8');
const valuesOf = (name: string): readonly string[] =>
  unit.split('\n').flatMap((line) => (line.startsWith(`${name}=`) ? [line.slice(name.length + 1)] : []));
const environment = Object.fromEntries(
  valuesOf('Environment').map((entry) => {
    const [name = '', value = ''] = entry.split('=', 2);
    return [name, value];
  }),
);

test('the unit leaves what runs to the next start, and systemd ends nothing but the service', () => {
  expect(readConfig(environment)).toMatchObject({ RESTART_POLICY: 'adopt', DRAIN_SECONDS: 0 });
  expect(valuesOf('KillMode')).toEqual(['process']);
  expect(valuesOf('OOMPolicy')).toEqual(['continue']);
  expect(valuesOf('PrivateTmp')).toEqual(['no']);
});

test('the unit starts the service as npm start does, itself, and not again where its settings are wrong', () => {
  const { scripts } = z
    .object({ scripts: z.object({ start: z.string() }) })
    .parse(JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')));
  const directory = valuesOf('WorkingDirectory')[0] ?? '';
  expect(scripts.start.split(' exec ')[1]).toBe(
    valuesOf('ExecStart')[0]?.replace(`${directory}/node_modules/.bin/node`, 'node'),
  );
  expect(valuesOf('RestartPreventExitStatus')).toEqual(['78']);
});
