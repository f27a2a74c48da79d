// Writes a call of the API as code: curl, Python or TypeScript, by a method of OpenAI's or Anthropic's client if there is one.
// A key is never part of the code: curl and OpenAI's client read it from OPENAI_API_KEY, Anthropic's from ANTHROPIC_API_KEY.

/** A call of the API. */
export interface ApiCall {
  /** The server's address without a slash at its end. */
  readonly server: string;
  /** Whether the server needs a key. */
  readonly hasKeys: boolean;
  /** `GET` */
  readonly method: string;
  /** With its query: `/v1/models/base`. */
  readonly path: string;
  /** JSON, or a text that is meant to be. */
  readonly body?: unknown;
  /** The parts of a form. */
  readonly parts?: readonly (readonly [name: string, value: string | File])[];
}

/** Writers by language. */
export const LANGUAGES: Readonly<Record<string, (call: ApiCall) => string>> = {
  curl: toCurl,
  Python: toPython,
  TypeScript: toTypeScript,
};

/** The clients' methods. A `*` in a path is an argument. */
const METHODS: readonly (readonly [call: string, name: string])[] = [
  ['POST /v1/chat/completions', 'chat.completions.create'],
  ['POST /v1/completions', 'completions.create'],
  ['POST /v1/responses', 'responses.create'],
  ['POST /v1/embeddings', 'embeddings.create'],
  ['POST /v1/messages', 'messages.create'],
  ['POST /v1/messages/count_tokens', 'messages.count_tokens'],
  ['GET /v1/models', 'models.list'],
  ['GET /v1/models/*', 'models.retrieve'],
  ['DELETE /v1/models/*', 'models.delete'],
  ['POST /v1/files', 'files.create'],
  ['GET /v1/files', 'files.list'],
  ['GET /v1/files/*', 'files.retrieve'],
  ['DELETE /v1/files/*', 'files.delete'],
  ['POST /v1/batches', 'batches.create'],
  ['GET /v1/batches', 'batches.list'],
  ['GET /v1/batches/*', 'batches.retrieve'],
  ['POST /v1/batches/*/cancel', 'batches.cancel'],
  ['POST /v1/fine_tuning/jobs', 'fine_tuning.jobs.create'],
  ['GET /v1/fine_tuning/jobs', 'fine_tuning.jobs.list'],
  ['GET /v1/fine_tuning/jobs/*', 'fine_tuning.jobs.retrieve'],
  ['GET /v1/fine_tuning/jobs/*/events', 'fine_tuning.jobs.list_events'],
  ['GET /v1/fine_tuning/jobs/*/checkpoints', 'fine_tuning.jobs.checkpoints.list'],
  ['POST /v1/fine_tuning/jobs/*/cancel', 'fine_tuning.jobs.cancel'],
  ['POST /v1/fine_tuning/jobs/*/pause', 'fine_tuning.jobs.pause'],
  ['POST /v1/fine_tuning/jobs/*/resume', 'fine_tuning.jobs.resume'],
];

/** The fields of these methods. Others go into `extra_body` in Python, and into a spread object in TypeScript. */
const CLIENT_FIELDS = new Set(
  `model messages input prompt system instructions max_tokens max_completion_tokens max_output_tokens
  temperature top_p n stop stop_sequences seed stream stream_options logprobs top_logprobs logit_bias presence_penalty
  frequency_penalty response_format text tools tool_choice parallel_tool_calls prediction user metadata store
  reasoning reasoning_effort dimensions encoding_format echo suffix file purpose training_file validation_file
  hyperparameters method input_file_id endpoint completion_window`.split(/\s+/),
);

/** How a client makes the call. */
interface ClientCall {
  readonly client: 'OpenAI' | 'Anthropic';
  readonly baseUrl: string;
  /** Of Python's client. */
  readonly method: string;
  /** The arguments that are no fields: ids, or the path. */
  readonly ids: readonly string[];
  readonly fields: readonly (readonly [name: string, value: unknown])[];
  /** Fields that the method does not have. */
  readonly others: Readonly<Record<string, unknown>>;
  readonly isStream: boolean;
  /** Whether there is a method for this call, rather than for any call. */
  readonly isTyped: boolean;
}

function clientCall(call: ApiCall): ClientCall {
  const { server, method, path, body, parts = [] } = call;
  const segments = `${method} ${path}`.split('/');
  const found = METHODS.find(([pattern]) => {
    const wanted = pattern.split('/');
    const fits = (segment: string, i: number) => [segment, '*'].includes(wanted[i]!);
    return wanted.length === segments.length && segments.every(fits) && !path.includes('?');
  });
  const isApi = path.startsWith('/v1/');
  if (!found || typeof body === 'string') {
    return {
      client: 'OpenAI',
      baseUrl: `${server}/v1`,
      method: method.toLowerCase(),
      ids: [isApi ? path.slice('/v1'.length) : `${server}${path}`],
      fields: body === undefined ? [] : [['body', body]],
      others: {},
      isStream: false,
      isTyped: false,
    };
  }
  const [pattern, name] = found;
  const wanted = pattern.split('/');
  const isAnthropic = name.startsWith('messages.');
  const fields = [...Object.entries(body ?? {}), ...parts];
  return {
    client: isAnthropic ? 'Anthropic' : 'OpenAI',
    baseUrl: isAnthropic ? server : `${server}/v1`,
    method: name,
    ids: segments.filter((_, i) => wanted[i] === '*').map(decodeURIComponent),
    fields: fields.filter(([field]) => CLIENT_FIELDS.has(field)),
    others: Object.fromEntries(fields.filter(([field]) => !CLIENT_FIELDS.has(field))),
    isStream: fields.some(([field, value]) => field === 'stream' && value === true),
    isTyped: true,
  };
}

/** The part of the answer that is printed. A chat's answer with calls has no text. */
function partOf({ method, fields }: ClientCall): string {
  if (/\.list(_events)?$/.test(method)) return '.data';
  if (method !== 'chat.completions.create') return '';
  const hasTools = fields.some(([name]) => name === 'tools');
  return `.choices[0].message${hasTools ? '' : '.content'}`;
}

function toCurl({ server, hasKeys, method, path, body, parts = [] }: ApiCall): string {
  const isPost = body !== undefined || parts.length > 0; // curl's own choice
  const choice = method === (isPost ? 'POST' : 'GET') ? '' : `-X ${method} `;
  const data = typeof body === 'string' ? body : JSON.stringify(body, null, 2);
  const lines = [
    `curl ${choice}${shellQuoted(`${server}${path}`)}`,
    ...(hasKeys ? ['-H "authorization: Bearer $OPENAI_API_KEY"'] : []),
    ...(body === undefined ? [] : ["-H 'content-type: application/json'", `-d ${quoted(data)}`]),
    ...parts.map(([name, value]) => {
      return `-F ${quoted(`${name}=${value instanceof File ? `@${value.name}` : value}`)}`;
    }),
  ];
  return lines.join(' \\\n  ');
}

function toPython(call: ApiCall): string {
  const made = clientCall(call);
  const { client, baseUrl, method, ids, fields, others, isStream, isTyped } = made;
  const key = call.hasKeys ? '' : ', api_key="none"';
  const members = [
    ...ids.map(pythonOf),
    ...fields.map(([name, value]) => `${name}=${pythonOf(value)}`),
    ...(Object.keys(others).length > 0 ? [`extra_body=${pythonOf(others)}`] : []),
    ...(isTyped ? [] : ['cast_to=object']),
  ];
  const isLong = members.length > 1 && isTyped;
  return [
    `from ${client.toLowerCase()} import ${client}`,
    '',
    `client = ${client}(base_url=${JSON.stringify(baseUrl)}${key})`,
    `answer = client.${method}(${isLong ? linesOf(members) : members.join(', ')})`,
    ...(isStream ? ['for event in answer:', '    print(event)'] : []),
    ...(isStream ? [] : [`print(answer${partOf(made)})`]),
  ].join('\n');
}

function toTypeScript(call: ApiCall): string {
  const made = clientCall(call);
  const { client, baseUrl, method, ids, fields, others, isStream } = made;
  const key = call.hasKeys ? '' : ", apiKey: 'none'";
  const members = [
    ...fields.map(([name, value]) => `${name}: ${typeScriptOf(value)}`),
    // Types of the clients know no further fields; in a spread object they are not checked.
    ...(Object.keys(others).length > 0 ? [`...${typeScriptOf(others)}`] : []),
  ];
  const object = members.length > 0 ? [`{${linesOf(members, '  ')}}`] : [];
  const args = [...ids.map((id) => JSON.stringify(id)), ...object].join(', ');
  const name = method.replace(/_(\w)/g, (_, letter: string) => letter.toUpperCase());
  const answer = `answer${partOf(made).replace('[0].', '[0]?.')}`;
  const printed = answer.endsWith('content') ? answer : `JSON.stringify(${answer}, null, 2)`;
  const hasFile = fields.some(([, value]) => value instanceof File);
  return [
    ...(hasFile ? ["import { createReadStream } from 'node:fs';"] : []),
    `import ${client} from '${client === 'OpenAI' ? 'openai' : '@anthropic-ai/sdk'}';`,
    '',
    `const client = new ${client}({ baseURL: ${JSON.stringify(baseUrl)}${key} });`,
    `const answer = await client.${name}(${args});`,
    isStream ? 'for await (const event of answer) console.log(event);' : `console.log(${printed});`,
  ].join('\n');
}

function typeScriptOf(value: unknown): string {
  if (value instanceof File) return `createReadStream(${JSON.stringify(value.name)})`;
  return JSON.stringify(value, null, 2);
}

/** JSON strings are valid in Python, except for lone surrogates, which a prompt cannot contain. */
function pythonOf(value: unknown): string {
  if (value === null) return 'None';
  if (typeof value === 'boolean') return value ? 'True' : 'False';
  if (value instanceof File) return `open(${JSON.stringify(value.name)}, "rb")`;
  if (Array.isArray(value)) return `[${linesOf(value.map(pythonOf))}]`;
  if (typeof value !== 'object') return JSON.stringify(value);
  const members = Object.entries(value);
  return `{${linesOf(members.map(([name, one]) => `${JSON.stringify(name)}: ${pythonOf(one)}`))}}`;
}

/** A line for each item of a list. */
function linesOf(items: readonly string[], by = '    '): string {
  if (items.length === 0) return '';
  return `${items.map((item) => `\n${by}${item.replaceAll('\n', `\n${by}`)},`).join('')}\n`;
}

function shellQuoted(text: string): string {
  return /^[\w:/.@%+=-]+$/.test(text) ? text : quoted(text);
}

function quoted(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}
