import { checkStoreModel } from '../test/stress/store-model.ts';

/** Random commands on the store, against a model of it: `node bench/store-model.ts [commands]`. Throws where the two differ. */
const wanted = Number(process.argv[2] ?? 100_000);
const startedAt = performance.now();
let commands = 0;
while (commands < wanted) commands += await checkStoreModel({ runs: 20, length: 200 });
process.stdout.write(`${JSON.stringify({ commands, seconds: Math.round((performance.now() - startedAt) / 1000) })}\n`);
