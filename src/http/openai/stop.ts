/** Cuts an answer at the first of some texts. What may be the beginning of one is held back until that is known. */
export interface StopCutter {
  /** What of it can go out. */
  push(text: string): string;
  /** What was held back to the end. */
  rest(): string;
}

export function createStopCutter(stops: readonly string[]): StopCutter {
  const longest = Math.max(0, ...stops.map((stop) => stop.length));
  let held = '';
  let stopped = false;
  return {
    push(text) {
      if (stopped) return '';
      if (longest === 0) return text;
      held += text;
      const cut = firstStop(held, stops);
      stopped = cut !== -1;
      const end = stopped ? cut : held.length - heldLength(held, stops, longest);
      const out = held.slice(0, end);
      held = stopped ? '' : held.slice(end);
      return out;
    },
    rest() {
      const out = held;
      held = '';
      return out;
    },
  };
}

export function cutAtStop(text: string, stops: readonly string[]): string {
  const at = firstStop(text, stops);
  return at === -1 ? text : text.slice(0, at);
}

function firstStop(text: string, stops: readonly string[]): number {
  const found = stops.map((stop) => text.indexOf(stop)).filter((at) => at !== -1);
  return found.length === 0 ? -1 : Math.min(...found);
}

/** How much of the end of a text is the beginning of a stop. */
function heldLength(text: string, stops: readonly string[], longest: number): number {
  for (let length = Math.min(longest - 1, text.length); length > 0; length -= 1) {
    const end = text.slice(text.length - length);
    if (stops.some((stop) => stop.startsWith(end))) return length;
  }
  return 0;
}
