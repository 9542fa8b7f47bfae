import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { z } from 'zod';

const root = join(import.meta.dirname, '..');
const dockerfile = read('Dockerfile');
const instructions = instructionsOf(dockerfile);
const kubernetes = read('deploy/kubernetes.yaml');
const dockerignore = read('.dockerignore')
  .split('\n')
  .filter((line) => line !== '' && !line.startsWith('#'));
const { devDependencies } = z
  .object({ devDependencies: z.object({ node: z.string(), '@anthropic-ai/claude-code': z.string() }) })
  .parse(JSON.parse(read('package.json')));

describe('the image', () => {
  test('every file that is copied from the checkout exists and is let through by .dockerignore', () => {
    const sources = instructions
      .filter((line) => line.startsWith('COPY ') && !line.includes('--from='))
      .flatMap((line) => line.split(/\s+/).slice(1, -1));
    expect(sources).toContain('src');
    expect(sources.filter((source) => !existsSync(join(root, source)))).toEqual([]);
    expect(sources.filter((source) => !dockerignore.includes(`!${source}`))).toEqual([]);
  });

  test('every source of the programs in C is copied', () => {
    const copied = instructions.filter((line) => line.startsWith('COPY native/')).join(' ');
    const sources = readdirSync(join(root, 'native')).filter((name) => /\.[ch]$/.test(name));
    expect(sources.length).toBeGreaterThan(3);
    expect(sources.filter((name) => !copied.includes(` native/${name}`))).toEqual([]);
  });

  test('nothing else of the checkout is let through', () => {
    expect(dockerignore[0]).toBe('*');
    const allowed = dockerignore.slice(1);
    expect(allowed.filter((line) => !line.startsWith('!'))).toEqual([]);
    expect(allowed.filter((line) => /node_modules|data|\.env|\.git|\*/.test(line))).toEqual([]);
  });

  test('Node is the version that the tests run on, up to the patch', () => {
    const minor = devDependencies.node.split('.').slice(0, 2).join('.');
    expect(dockerfile).toContain(`ARG NODE_IMAGE=node:${minor}-bookworm-slim\n`);
    expect(read('.woodpecker.yml').match(/image: node:\S+/g)).toEqual(Array(2).fill(`image: node:${minor}-bookworm`));
    const stages = instructions.filter((line) => line.startsWith('FROM '));
    expect(stages.every((line) => line.startsWith('FROM ${NODE_IMAGE}'))).toBe(true);
  });

  test('the agent CLI is installed in the version that package.json pins', () => {
    expect(devDependencies['@anthropic-ai/claude-code']).toMatch(/^\d+\.\d+\.\d+$/);
    const install = instructions.find((line) => line.includes('npm install --global'));
    expect(install).toContain(`require('./package.json').devDependencies['@anthropic-ai/claude-code']`);
    expect(install).toContain('"@anthropic-ai/claude-code@${version}"');
  });

  test('it runs as an ordinary user by number, under tini, and asks livez for its health', () => {
    const last = finalStage();
    expect(last.filter((line) => line.startsWith('USER '))).toEqual(['USER 10001:10001']);
    expect(last).toContain('ENTRYPOINT ["/usr/bin/tini", "--"]');
    expect(last.some((line) => line.startsWith('RUN apt-get update') && / tini( |$)/.test(line))).toBe(true);
    expect(last.find((line) => line.startsWith('HEALTHCHECK '))).toContain('/livez');
    expect(last).toContain('VOLUME /data');
    expect(last).toContain('EXPOSE 8080');
    expect(last.find((line) => line.startsWith('ENV NODE_ENV'))).toMatch(
      / HOST=0\.0\.0\.0 PORT=8080 DATA_DIR=\/data HOME=\/home\/agent$/,
    );
  });

  test('it holds every program that a setting may ask for', () => {
    const install = finalStage().find((line) => line.startsWith('RUN apt-get update')) ?? '';
    const programs = ['bubblewrap', 'git', 'git-crypt', 'git-lfs', 'openssh-client'];
    expect(programs.filter((name) => !install.includes(` ${name} `))).toEqual([]);
    // Its package would have each git fetch large files at a checkout, also that of an agent.
    expect(install).toContain('&& git lfs uninstall --system');
  });

  test('it starts what npm start starts', () => {
    const { scripts } = z.object({ scripts: z.object({ start: z.string() }) }).parse(JSON.parse(read('package.json')));
    const [assignments = '', program = ''] = scripts.start.split(' exec ');
    expect(finalStage()).toContain(`CMD ${JSON.stringify(program.split(' ')).replaceAll(',', ', ')}`);
    const names = assignments.split(' ').map((text) => text.split('=')[0]);
    expect(names).toEqual(['NODE_COMPILE_CACHE', 'MALLOC_ARENA_MAX']);
    for (const name of names) expect(finalStage().join('\n')).toContain(`ENV ${name}=`);
  });

  test('no package that it holds has an install script, for none is run', () => {
    const { packages } = z
      .object({
        packages: z.record(
          z.string(),
          z.object({ dev: z.boolean().optional(), hasInstallScript: z.boolean().optional() }),
        ),
      })
      .parse(JSON.parse(read('package-lock.json')));
    const withScript = Object.entries(packages).filter(([, { dev, hasInstallScript }]) => !dev && hasInstallScript);
    expect(withScript.map(([path]) => path)).toEqual([]);
  });
});

describe('the Kubernetes example', () => {
  test('the pod has longer to end than running jobs may take', () => {
    const drain = /name: DRAIN_SECONDS, value: "(\d+)"/.exec(kubernetes)?.[1];
    const grace = /^ {6}terminationGracePeriodSeconds: (\d+)$/m.exec(kubernetes)?.[1];
    expect(Number(grace)).toBeGreaterThanOrEqual(Number(drain) + 30);
  });

  test('a hung process is not given the grace of a drain', () => {
    expect(/livenessProbe:\n(?: {12}.*\n)+/.exec(kubernetes)?.[0]).toContain('terminationGracePeriodSeconds: 30');
  });

  test('it runs as the user of the image and mounts every directory that is written to', () => {
    expect(kubernetes).toContain('runAsUser: 10001');
    expect(kubernetes).toContain('readOnlyRootFilesystem: true');
    for (const path of ['/data', '/tmp', '/home/agent']) expect(kubernetes).toContain(`mountPath: ${path} }`);
  });
});

function read(path: string): string {
  return readFileSync(join(root, path), 'utf8');
}

/** One string per instruction: comments dropped, continued lines joined. */
function instructionsOf(text: string): readonly string[] {
  return text
    .replace(/^#.*\n/gm, '')
    .replace(/\s*\\\n\s*/g, ' ')
    .split('\n')
    .filter((line) => line !== '');
}

function finalStage(): readonly string[] {
  return instructions.slice(instructions.findLastIndex((line) => line.startsWith('FROM ')));
}
