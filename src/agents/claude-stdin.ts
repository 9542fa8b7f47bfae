import type { Attachment, JobSpec } from '../jobs/job.ts';

/** True where the prompt goes in as lines of JSON: what is more than text has no other way in. */
export function takesLines({ outputSchema, attachments = [] }: JobSpec): boolean {
  return outputSchema !== undefined || attachments.length > 0;
}

/**
 * What goes to the CLI's standard input. A schema goes the same way, not on the command line: there it could have 128 KiB at
 * most, and every process of the machine could read it.
 */
export function claudeStdin(spec: JobSpec): string {
  // A prompt whose first character is "/" would be taken for a command of the CLI; after a line break it is a prompt.
  const text = spec.prompt.startsWith('/') ? `\n${spec.prompt}` : spec.prompt;
  if (!takesLines(spec)) return text;
  const { outputSchema, attachments = [] } = spec;
  const lines = [
    ...(outputSchema === undefined ? [] : [initialize(outputSchema)]),
    { type: 'user', message: { role: 'user', content: [{ type: 'text', text }, ...attachments.map(blockOf)] } },
  ];
  return lines.map((line) => `${JSON.stringify(line)}\n`).join('');
}

function initialize(jsonSchema: NonNullable<JobSpec['outputSchema']>) {
  return { type: 'control_request', request_id: '1', request: { subtype: 'initialize', jsonSchema } };
}

function blockOf({ kind, mediaType, data }: Attachment) {
  return { type: kind, source: { type: 'base64', media_type: mediaType, data } };
}
