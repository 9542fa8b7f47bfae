import type { FastifyReply, FastifyRequest } from 'fastify';
import { whenClosed } from '../when-closed.ts';
import { type AttachmentClient, AttachmentError } from './attachment-client.ts';
import { badRequest } from './errors.ts';

type Fields = Record<string, unknown>;

/** An attachment of a request that is named by its URL. */
interface Place {
  readonly url: string;
  /** As in `messages[0].content[1]`. */
  readonly param: string;
  /** Puts the content in the place of the URL. */
  put(dataUrl: string): void;
}

/** Of one request: each is a connection to somebody else. */
const maxFetched = 16;

/**
 * For the routes of /v1, before their bodies are validated: attachments that are named by a URL of an allowed host are fetched, and
 * stand in the body as `data:` URLs. All others stay, and are refused by the schemas. Throws `OpenAiError` (400) that names the place.
 */
export function fetchAttachments(client: AttachmentClient | undefined) {
  return async ({ body }: FastifyRequest, reply: FastifyReply): Promise<void> => {
    if (client === undefined) return;
    const places = placesIn(body).filter(({ url }) => client.isAllowed(url));
    const tooMany = places[maxFetched];
    if (tooMany !== undefined)
      throw badRequest(`${tooMany.param}: more than ${maxFetched} URLs`, tooMany.param, 'invalid_value');
    if (places.length === 0) return;
    const signal = AbortSignal.any([whenClosed(reply.raw), AbortSignal.timeout(client.requestTimeoutMs)]);
    // One after the other: together they could hold many times the memory of one.
    for (const place of places) await fetchInto(client, place, signal);
  };
}

async function fetchInto(client: AttachmentClient, { url, param, put }: Place, signal: AbortSignal): Promise<void> {
  try {
    put(await client.fetch(url, signal));
  } catch (error) {
    if (!(error instanceof AttachmentError)) throw error;
    throw badRequest(`${param}: the URL could not be fetched: ${error.message}`, param, 'invalid_value');
  }
}

/** Where the three protocols have attachments. The body is anything that is JSON. */
function placesIn(body: unknown): readonly Place[] {
  if (!isFields(body)) return [];
  return ['messages', 'input'].flatMap((list) =>
    itemsOf(body[list]).flatMap((message, i) =>
      itemsOf(message['content']).flatMap((part, j) => placeOf(part, `${list}[${i}].content[${j}]`)),
    ),
  );
}

function placeOf(part: Fields, param: string): readonly Place[] {
  const { type, image_url: image, file_url: file, source } = part;
  if (type === 'image_url' && isFields(image)) return urlAt(image, 'url', param, (url) => (image['url'] = url));
  if (type === 'input_image') return urlAt(part, 'image_url', param, (url) => (part['image_url'] = url));
  if (type === 'input_file' && file != null && part['file_data'] == null)
    return urlAt(part, 'file_url', param, (url) => (part['file_data'] = url));
  if ((type === 'image' || type === 'document') && isFields(source) && source['type'] === 'url')
    return urlAt(source, 'url', param, (url) => (part['source'] = base64Source(url)));
  return [];
}

function urlAt(fields: Fields, name: string, param: string, put: (dataUrl: string) => void): readonly Place[] {
  const url = fields[name];
  return typeof url === 'string' ? [{ url, param, put }] : [];
}

/** As the Messages API has it. */
function base64Source(dataUrl: string): Fields {
  const comma = dataUrl.indexOf(',');
  const mediaType = dataUrl.slice('data:'.length, comma).replace(';base64', '');
  return { type: 'base64', media_type: mediaType, data: dataUrl.slice(comma + 1) };
}

function itemsOf(value: unknown): readonly Fields[] {
  return Array.isArray(value) ? value.map((item: unknown) => (isFields(item) ? item : {})) : [];
}

function isFields(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
