import { Agent, get } from 'node:http';

/**
 * Asks for `/health` again and again over one connection, from a process of its own: what stops the bench must not count as the
 * service's delay. Says `warm`, measures until its input ends, and prints what each answer took, in ms, as JSON.
 */
const url = `${process.argv[2]}/health`;
const agent = new Agent({ keepAlive: true, maxSockets: 1 });
/** Until its own code is compiled. */
const warmUps = 500;

async function ask(): Promise<number> {
  const start = performance.now();
  await new Promise((resolve, reject) => {
    get(url, { agent }, (response) => response.resume().once('end', resolve)).once('error', reject);
  });
  return performance.now() - start;
}

for (let n = 0; n < warmUps; n += 1) await ask();
process.stdout.write('warm\n');
let done = false;
process.stdin.on('end', () => (done = true)).resume();
const samples: number[] = [];
while (!done) samples.push(await ask());
process.stdout.write(JSON.stringify(samples));
agent.destroy();
