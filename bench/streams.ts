import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { runStreams, type StreamsReport } from '../test/stress/streams.ts';
import { print, quantile } from './figures.ts';
import { agents, headers, type RunningService, startService } from './running-service.ts';

/**
 * Many chats streamed at once through the running service, each compared with what its agent printed, and what the service holds
 * for each: `node bench/streams.ts [streams] [pieces]`. Exit code 1 if a piece was lost, doubled, changed or out of order.
 */
const streams = Number(process.argv[2] ?? 100);
const pieces = Number(process.argv[3] ?? 200);
const rounds = 3;
const sampleMs = 100;

await using service = await startService({
  CLAUDE_BIN: join(agents, 'pieces.sh'),
  MAX_CONCURRENCY: String(streams),
  MAX_QUEUE_DEPTH: String(streams * 2),
});
const options = { url: service.url, headers, pieces, burst: 10, pauseSeconds: 0.25 };
// Code and buffers that any call needs, and a second call does not need again.
await runStreams({ ...options, streams: 4 });
const idle = await rss(service);
print(`memory before: ${idle.toFixed(1)} MB`);
let faults = 0;
for (let round = 1; round <= rounds; round += 1) {
  const { report, peak } = await sampled(() => runStreams({ ...options, streams }));
  faults += report.faults.length;
  print(`round ${round}: ${streams} streams of ${pieces} pieces, ${report.faults.length} faults`);
  for (const fault of report.faults.slice(0, 5)) print(`  ${fault}`);
  times(report);
  print(`  memory at most: ${(peak - idle).toFixed(1)} MB more, ${((peak - idle) / streams).toFixed(2)} MB per stream`);
}
process.exitCode = faults === 0 ? 0 : 1;

function times(report: StreamsReport): void {
  for (const key of ['headersMs', 'firstPieceMs', 'endMs'] as const) {
    const [p50, p95] = [0.5, 0.95].map((share) => quantile(report[key], share).toFixed(0));
    print(`  ${key.slice(0, -2).padEnd(10)} p50 ${p50} ms, p95 ${p95} ms`);
  }
}

async function sampled(
  work: () => Promise<StreamsReport>,
): Promise<{ readonly report: StreamsReport; readonly peak: number }> {
  let peak = 0;
  const timer = setInterval(() => void rss(service).then((now) => (peak = Math.max(peak, now))), sampleMs);
  try {
    return { report: await work(), peak };
  } finally {
    clearInterval(timer);
  }
}

/** Megabytes. */
async function rss({ pid }: RunningService): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8');
  return Number(/VmRSS:\s+(\d+)/.exec(status)?.[1]) / 1024;
}
