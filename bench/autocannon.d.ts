/** The part of autocannon that is used here; it ships no types of its own. */
declare module 'autocannon' {
  interface Result {
    readonly requests: { readonly average: number };
    /** Milliseconds. */
    readonly latency: { readonly p99: number };
    readonly non2xx: number;
  }
  export default function autocannon(options: object): Promise<Result>;
}
