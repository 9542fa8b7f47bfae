/** Cuts an answer at the first of some texts. What may be the beginning of one is held back until that is known. */
export interface StopCutter {
  /** What of it can go out. */
  push(text: string): string;
  /** What was held back to the end. */
  rest(): string;
  /** The stop at which it was cut; null where there was none. */
  stop(): string | null;
}

export function createStopCutter(stops: readonly string[]): StopCutter {
  const longest = Math.max(0, ...stops.map((stop) => stop.length));
  let held = '';
  let stopped: string | null = null;
  return {
    push(text) {
      if (stopped !== null) return '';
      if (longest === 0) return text;
      held += text;
      const { text: before, stop } = stopIn(held, stops);
      stopped = stop;
      const out = stop === null ? held.slice(0, held.length - heldLength(held, stops, longest)) : before;
      held = stop === null ? held.slice(out.length) : '';
      return out;
    },
    rest() {
      const out = held;
      held = '';
      return out;
    },
    stop: () => stopped,
  };
}

/** A text up to the first stop in it, and that stop; all of it and null where there is none. */
export function stopIn(
  text: string,
  stops: readonly string[],
): { readonly text: string; readonly stop: string | null } {
  let [end, first]: [number, string | null] = [text.length, null];
  for (const stop of stops) {
    const at = text.indexOf(stop);
    if (at !== -1 && (first === null || at < end)) [end, first] = [at, stop];
  }
  return { text: text.slice(0, end), stop: first };
}

/** How much of the end of a text is the beginning of a stop. */
function heldLength(text: string, stops: readonly string[], longest: number): number {
  for (let length = Math.min(longest - 1, text.length); length > 0; length -= 1) {
    const end = text.slice(text.length - length);
    if (stops.some((stop) => stop.startsWith(end))) return length;
  }
  return 0;
}
