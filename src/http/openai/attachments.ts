import type { Attachment } from '../../jobs/job.ts';

/** What a caller sent beside text: something for the agent to look at, or a text file, which is just more text. */
export type Attached =
  | { readonly kind: 'attachment'; readonly attachment: Attachment }
  | { readonly kind: 'text'; readonly text: string };

/** What the model's API takes as pictures. */
const imageTypes = new Set(['image/png', 'image/jpeg', 'image/gif', 'image/webp']);
const textTypes = /^(?:text\/[\w.+-]+|application\/(?:json|xml|yaml|x-yaml))$/;
const dataUrl = /^data:([\w.+-]+\/[\w.+-]+)(?:;[\w.+-]+=[\w.+-]+)*;base64,([A-Za-z0-9+/]+={0,2})$/;

/** Null for anything but a `data:` URL of base64: nothing is fetched for a caller. */
export function readDataUrl(url: string): Attached | null {
  const match = dataUrl.exec(url);
  return match === null ? null : attached(match[1]?.toLowerCase() ?? '', match[2] ?? '');
}

/** Null for a type that the agent cannot be shown. */
export function attached(mediaType: string, data: string): Attached | null {
  if (imageTypes.has(mediaType)) return { kind: 'attachment', attachment: { kind: 'image', mediaType, data } };
  if (mediaType === 'application/pdf') return { kind: 'attachment', attachment: { kind: 'document', mediaType, data } };
  return textTypes.test(mediaType) ? { kind: 'text', text: Buffer.from(data, 'base64').toString('utf8') } : null;
}
