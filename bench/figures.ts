/** The value below which `share` (0 .. 1) of the samples lie. */
export function quantile(samples: readonly number[], share: number): number {
  const sorted = samples.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;
}

export function row(what: string, ours: number, baseline: number, unit: string): void {
  const ratio = (ours / baseline).toFixed(2);
  print(`${what.padEnd(62)} ${show(ours)} ${unit.padEnd(7)} baseline ${show(baseline)}  ratio ${ratio}`);
}

export function print(line: string): void {
  process.stdout.write(`${line}\n`);
}

function show(value: number): string {
  return (value >= 100 ? value.toFixed(0) : value.toFixed(2)).padStart(9);
}

/** Milliseconds. */
export async function timed(work: () => Promise<unknown>): Promise<number> {
  const start = performance.now();
  await work();
  return performance.now() - start;
}
