import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { describe, expect, test } from 'vitest';
import { z } from 'zod';

const logger = new URL('../../src/telemetry/logger.ts', import.meta.url).href;
const LineSchema = z.record(z.string(), z.unknown());
const secret = 'sesame-0123456789';

/** What a process prints that logs so. */
async function logged(level: string, statements: string): Promise<readonly Record<string, unknown>[]> {
  const program = `import { createLogger } from '${logger}'; const log = createLogger('${level}'); ${statements}`;
  const args = ['--input-type=module', '--eval', program];
  const { stdout } = await promisify(execFile)(process.execPath, args, { env: {} });
  return stdout
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => LineSchema.parse(JSON.parse(line)));
}

describe('the log', () => {
  test('is one JSON object per line, with its time and nothing about the machine', async () => {
    const before = Date.now();
    const [line, ...more] = await logged('info', "log.info({ job_id: 'job_1', text: 'a\\nb' }, 'job ended');");
    expect(more).toEqual([]);
    expect(line).toMatchObject({ level: 30, job_id: 'job_1', text: 'a\nb', msg: 'job ended' });
    expect(Date.parse(String(line?.['time']))).toBeGreaterThanOrEqual(before);
    expect(Object.keys(line ?? {}).sort()).toEqual(['job_id', 'level', 'msg', 'text', 'time']);
  });

  test('holds what is as grave as asked for, or more', async () => {
    const all = "for (const level of ['debug', 'info', 'warn', 'error']) log[level]({}, level);";
    expect((await logged('warn', all)).map((line) => line['msg'])).toEqual(['warn', 'error']);
    expect(await logged('silent', all)).toEqual([]);
  });

  test('tells of an error with its cause', async () => {
    const [line] = await logged(
      'info',
      "log.error({ err: new Error('no', { cause: new Error('disk full') }) }, 'failed');",
    );
    expect(JSON.stringify(line)).toContain('disk full');
  });

  test.each([
    '{ token: secret }',
    '{ authorization: secret }',
    '{ headers: { authorization: secret } }',
    '{ req: { headers: { authorization: secret, cookie: secret } } }',
    '{ req: { authorization: secret, cookie: secret, token: secret } }',
    '{ err: Object.assign(new Error("no"), { headers: { authorization: secret }, token: secret }) }',
    '{ err: Object.assign(new Error("no"), { request: { headers: { authorization: secret } } }) }',
  ])('never shows a secret that came along: %s', async (fields) => {
    const lines = await logged('info', `const secret = '${secret}'; log.info(${fields}, 'request');`);
    expect(lines).toHaveLength(1);
    expect(JSON.stringify(lines)).not.toContain(secret);
  });
});
