/** One frame of an event stream, as it was sent. */
export interface Frame {
  readonly id: string | null;
  readonly event: string;
  readonly data: unknown;
}

/** Reads a response as an event stream; comments are passed to `onComment`. */
export async function* readFrames(
  response: Response,
  onComment: (text: string) => void = () => {},
): AsyncGenerator<Frame, void> {
  if (response.body === null) return;
  const decoder = new TextDecoder();
  let text = '';
  let fields: Partial<Record<string, string>> = {};
  const body: AsyncIterable<Uint8Array<ArrayBuffer>> = response.body;
  for await (const bytes of body) {
    text += decoder.decode(bytes, { stream: true });
    for (let end = text.indexOf('\n'); end !== -1; end = text.indexOf('\n')) {
      const line = text.slice(0, end);
      text = text.slice(end + 1);
      const [name = '', value = ''] = splitAt(line, ': ');
      if (line.startsWith(':')) onComment(line);
      else if (line !== '') fields[name] = value;
      else if (fields['data'] !== undefined) {
        yield { id: fields['id'] ?? null, event: fields['event'] ?? 'message', data: JSON.parse(fields['data']) };
        fields = {};
      }
    }
  }
}

function splitAt(line: string, separator: string): readonly string[] {
  const at = line.indexOf(separator);
  return at === -1 ? [line] : [line.slice(0, at), line.slice(at + separator.length)];
}

/** All frames until the stream ends. */
export async function allFrames(response: Response): Promise<readonly Frame[]> {
  const frames: Frame[] = [];
  for await (const frame of readFrames(response)) frames.push(frame);
  return frames;
}

/** What is kept: everything that has a number. */
export function kept(frames: readonly Frame[]): readonly Frame[] {
  return frames.filter((frame) => frame.id !== null);
}
