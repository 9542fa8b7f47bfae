import type { Attachment, JobSpec, JsonObject } from '../jobs/job.ts';

/** True where the prompt goes in as lines of JSON: what is more than text has no other way in. */
export function takesLines({ outputSchema, attachments = [] }: JobSpec): boolean {
  return outputSchema !== undefined || attachments.length > 0;
}

/**
 * What goes to the CLI's standard input. A schema goes the same way, not on the command line: there it could have 128 KiB at
 * most, and every process of the machine could read it.
 */
export function claudeStdin(spec: JobSpec): string {
  if (!takesLines(spec)) return textOf(spec);
  const { outputSchema } = spec;
  return linesOf(spec, outputSchema === undefined ? null : { jsonSchema: outputSchema });
}

/** The same for a CLI that was started without any of it: its system prompt goes this way too. */
export function claudeLines(spec: JobSpec): string {
  const { outputSchema, systemPrompt } = spec;
  const settings = {
    ...(outputSchema !== undefined && { jsonSchema: outputSchema }),
    ...(systemPrompt !== null && { appendSystemPrompt: systemPrompt }),
  };
  return linesOf(spec, Object.keys(settings).length === 0 ? null : settings);
}

function linesOf(spec: JobSpec, settings: JsonObject | null): string {
  const content = [{ type: 'text', text: textOf(spec) }, ...(spec.attachments ?? []).map(blockOf)];
  const lines = [
    ...(settings === null ? [] : [initialize(settings)]),
    { type: 'user', message: { role: 'user', content } },
  ];
  return lines.map((line) => `${JSON.stringify(line)}\n`).join('');
}

/** A prompt whose first character is "/" would be taken for a command of the CLI; after a line break it is a prompt. */
function textOf({ prompt }: JobSpec): string {
  return prompt.startsWith('/') ? `\n${prompt}` : prompt;
}

function initialize(settings: JsonObject) {
  return { type: 'control_request', request_id: '1', request: { subtype: 'initialize', ...settings } };
}

function blockOf({ kind, mediaType, data }: Attachment) {
  return { type: kind, source: { type: 'base64', media_type: mediaType, data } };
}
