// The form that sends an operation: its fields, the call that they make, and the answer.
import { computed, signal } from '@preact/signals';
import type { ApiCall } from '../client-code.ts';
import { parseJson } from '../json.ts';
import { keyHeaders } from '../key.ts';
import {
  type Operation,
  objectsOf,
  type Parameter,
  pathOf,
  type Schemas,
  typeText,
} from './document.ts';

const JSON_TYPE = 'application/json';
const FORM_TYPE = 'multipart/form-data';

/** The answer to a call. */
export interface Answer {
  readonly status: number;
  readonly seconds: number;
  readonly content: Blob;
  /** Undefined if the content is no text. */
  readonly text: string | undefined;
}

/** The state of the call. */
type Sending =
  | { readonly kind: 'idle' | 'waiting' | 'failed' }
  | ({ readonly kind: 'answered' } & Answer);

/** The state of an operation's form. */
export type OperationForm = ReturnType<typeof createForm>;

/** Makes the form of an operation, with its example. */
export function createForm(operation: Operation, schemas: Schemas) {
  const fields = formFields(operation, schemas);
  const json = operation.requestBody?.content[JSON_TYPE];
  const values = signal(Object.fromEntries(fields.map((one) => [one.name, initialValue(one)])));
  /** As typed; undefined for an operation without JSON. */
  const body = signal(json && JSON.stringify(json.example ?? {}, null, 2));
  const sending = signal<Sending>({ kind: 'idle' });
  const parts = computed(() =>
    fields.flatMap((one) =>
      one.in === 'form' ? [[one.name, values.value[one.name]!] as const] : [],
    ),
  );
  /** The call that the form makes. */
  const call = computed(
    (): Pick<ApiCall, 'method' | 'path' | 'body' | 'parts'> => ({
      method: operation.method,
      path: pathOf(operation.path, fields, values.value),
      ...(body.value !== undefined && { body: parsed(body.value) }),
      ...(parts.value.length > 0 && { parts: parts.value }),
    }),
  );

  let sends = 0;
  async function send() {
    const number = ++sends;
    const show = (state: Sending) => {
      if (number === sends) sending.value = state;
    };
    show({ kind: 'waiting' });
    const form = new FormData();
    for (const [name, value] of parts.value) form.append(name, value);
    const content = body.value ?? (parts.value.length > 0 ? form : undefined);
    const startMs = performance.now();
    try {
      const response = await fetch(call.value.path.slice(1), {
        method: operation.method,
        headers: { ...keyHeaders(), ...(json && { 'content-type': JSON_TYPE }) },
        ...(content !== undefined && { body: content }),
        cache: 'no-store',
      });
      const blob = await response.blob();
      const seconds = (performance.now() - startMs) / 1000;
      show({
        kind: 'answered',
        status: response.status,
        seconds,
        content: blob,
        text: await textOf(blob, response.headers.get('content-type') ?? ''),
      });
    } catch {
      show({ kind: 'failed' });
    }
  }

  return {
    ...{ fields, values, body, sending, call, send },
    change(name: string, value: string | File) {
      values.value = { ...values.value, [name]: value };
    },
  };
}

/** A field of the form: a parameter of the path or the query, or a part of a multipart body. */
export type FormField = ReturnType<typeof formFields>[number];

function formFields({ id, parameters = [], requestBody }: Operation, schemas: Schemas) {
  const form = requestBody?.content[FORM_TYPE];
  const [parts = []] = form ? objectsOf(form.schema, schemas) : [];
  const texts = parts
    .filter(({ schema }) => schema.type !== 'object')
    .map(({ isRequired, ...part }): Parameter => ({ ...part, required: isRequired, in: 'form' }));
  return [...parameters, ...texts].map(({ name, schema, required = false, ...rest }) => ({
    id: `${id}-${name}`,
    name,
    label: rest.description ? `${name}: ${rest.description}` : name,
    in: rest.in,
    isRequired: required,
    isFile: schema.format === 'binary',
    placeholder: typeText(schema),
    only: schema.const ?? (schema.enum?.length === 1 ? schema.enum[0] : ''),
  }));
}

/** The value of an empty field. */
function initialValue({ isFile, only }: FormField): string | File {
  return isFile ? new File([], 'FILE') : String(only);
}

/** JSON, or the text if it is none. */
function parsed(text: string): unknown {
  const value = parseJson(text);
  return value === undefined ? text : value;
}

async function textOf(content: Blob, type: string): Promise<string | undefined> {
  if (!/json|text/.test(type)) return undefined;
  const text = await content.text();
  return type.startsWith(JSON_TYPE) ? JSON.stringify(parsed(text), null, 2) : text;
}
