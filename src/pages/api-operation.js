// One operation of the API docs: a form that sends it with the user's key, its curl command with a shell variable in place of
// the key, and the fields of its request and its responses. Everything but the summary is created when it is opened.
import { objectsOf, typeText } from './api-schema.js';
import { el, fill, problemText, setText } from './dom.js';
import { duration, size } from './format.js';
import { apiKey, keyHeaders } from './key.js';
import { curlCommand } from './snippets.js';
import { copyButton, saveBlob } from './widgets.js';

/** @typedef {import('./api-schema.js').Schema} Schema */
/** @typedef {import('./api-schema.js').Schemas} Schemas */
/** Contents by media type. @typedef {Readonly<Record<string, { schema: Schema, example?: unknown }>>} Contents */

/**
 * @typedef {object} Operation
 * @property {string} summary
 * @property {readonly string[]} tags
 * @property {readonly { name: string, in: string, required?: boolean, schema: Schema, description?: string }[]} [parameters]
 * @property {{ content: Contents }} [requestBody]
 * @property {Readonly<Record<string, { description: string, content?: Contents }>>} responses
 */

/** @typedef {{ method: string, path: string, operation: Operation }} Endpoint */
/** A field of the form. @typedef {{ name: string, label: string, input: HTMLInputElement }} FormField */

const JSON_TYPE = 'application/json';
const FORM_TYPE = 'multipart/form-data';

/** Creates the operation, closed. @param {Endpoint} endpoint @param {Schemas} schemas */
export function createOperation(endpoint, schemas) {
  const { method, path, operation } = endpoint;
  const summary = [
    el('span', { className: `method ${method}` }, method.toUpperCase()),
    el('code', path),
    el('span.help', ...marked(operation.summary)),
  ];
  const section = openedOnce('details.panel.operation', summary, () => [
    new OperationForm(endpoint, schemas, section.id).element,
    ...requestFields(operation, schemas),
    el('h3', 'Responses'),
    el('ul.fields', ...responseItems(operation, schemas)),
  ]);
  section.id = `${method}${path}`.replace(/[^\w-]+/g, '-');
  return section;
}

/**
 * Creates an element that is filled when it is first opened. Schemas can contain themselves.
 * @param {'details.more' | 'details.panel.operation'} selector
 * @param {readonly (Node | string)[]} summary
 * @param {() => readonly Node[]} create
 */
function openedOnce(selector, summary, create) {
  const content = el('div');
  const ontoggle = () => {
    if (!content.hasChildNodes()) fill(content, ...create());
  };
  return el(selector, { ontoggle }, el('summary', ...summary), content);
}

/** The form that sends an operation. */
class OperationForm {
  #endpoint;
  /** @type {readonly FormField[]} */
  #parameters;
  /** @type {readonly FormField[]} */
  #parts;
  /** @type {HTMLTextAreaElement | undefined} */
  #json;
  #curl = el('code');
  #result = el('div.result', { 'aria-live': 'polite' });

  /** @param {Endpoint} endpoint @param {Schemas} schemas @param {string} id */
  constructor(endpoint, schemas, id) {
    const { parameters = [], requestBody } = endpoint.operation;
    const { [JSON_TYPE]: json, [FORM_TYPE]: form } = requestBody?.content ?? {};
    this.#endpoint = endpoint;
    this.#parameters = parameters.map((one) => toField(one, one.required === true, id));
    const [parts = []] = form ? objectsOf(form.schema, schemas) : [];
    this.#parts = parts
      .filter(({ schema }) => schema['type'] !== 'object')
      .map(({ name, schema, isRequired }) => toField({ name, schema }, isRequired, id));
    if (json) {
      const value = JSON.stringify(json.example ?? {}, null, 2);
      this.#json = el('textarea', { id: `${id}-body`, value, rows: 4, spellcheck: false });
    }
    this.element = this.#createElement();
    this.#showCurl();
  }

  #createElement() {
    const json = this.#json;
    return el(
      'form',
      {
        oninput: () => this.#showCurl(),
        onsubmit: (/** @type {Event} */ event) => {
          event.preventDefault();
          void this.#send();
        },
      },
      ...[...this.#parameters, ...this.#parts].map(({ label, input }) =>
        el('div.field', el('label', { htmlFor: input.id }, label), input),
      ),
      json && el('div.field', el('label', { htmlFor: json.id }, 'Request body'), json),
      el(
        'figure.code',
        el(
          'figcaption',
          el('span', 'curl'),
          copyButton(() => this.#curl.textContent ?? '', 'the command'),
        ),
        el('pre.curl', { tabIndex: 0, role: 'group', 'aria-label': 'Command' }, this.#curl),
      ),
      el('div.row.end', el('button.primary', { type: 'submit' }, 'Send')),
      this.#result,
    );
  }

  /** Relative, so that it works below a base path. */
  get #url() {
    const query = new URLSearchParams();
    let path = this.#endpoint.path.slice(1);
    for (const [i, { name, input }] of this.#parameters.entries()) {
      const isInPath = this.#endpoint.operation.parameters?.[i]?.in === 'path';
      if (isInPath)
        path = path.replace(`{${name}}`, encodeURIComponent(input.value) || `{${name}}`);
      else if (input.value !== '') query.set(name, input.value);
    }
    return query.size === 0 ? path : `${path}?${query}`;
  }

  #showCurl() {
    const command = curlCommand({
      method: this.#endpoint.method.toUpperCase(),
      url: new URL(this.#url, document.baseURI).href,
      hasKeys: apiKey() !== undefined,
      body: this.#json?.value,
      parts: this.#parts.map(({ name, input }) => [name, partText(input)]),
    });
    setText(this.#curl, command);
  }

  async #send() {
    fill(this.#result, el('p.help', 'Waiting …'));
    const form = new FormData();
    for (const { name, input } of this.#parts) form.append(name, input.files?.[0] ?? input.value);
    const body = this.#json?.value ?? (this.#parts.length > 0 ? form : undefined);
    const headers = { ...keyHeaders(), ...(this.#json && { 'content-type': JSON_TYPE }) };
    const startMs = performance.now();
    try {
      const response = await fetch(this.#url, {
        method: this.#endpoint.method.toUpperCase(),
        headers,
        ...(body !== undefined && { body }),
        cache: 'no-store',
      });
      const content = await response.blob();
      const seconds = (performance.now() - startMs) / 1000;
      fill(this.#result, ...(await responseParts(response, content, seconds)));
    } catch {
      fill(this.#result, problemText('The server does not answer.'));
    }
  }
}

/**
 * @param {{ name: string, schema: Schema, description?: string }} field
 * @param {boolean} required
 * @param {string} id of the operation
 * @returns {FormField}
 */
function toField({ name, schema, description }, required, id) {
  const isFile = schema['format'] === 'binary';
  const input = el('input', {
    id: `${id}-${name}`,
    type: isFile ? 'file' : 'text',
    required,
    placeholder: typeText(schema),
    ...(!isFile && {
      value: schema['const'] ?? (schema['enum']?.length === 1 ? schema['enum'][0] : ''),
    }),
  });
  return { name, input, label: description ? `${name}: ${description}` : name };
}

/** A part of a form as curl writes it. @param {HTMLInputElement} input */
function partText({ type, files, value }) {
  return type === 'file' ? `@${files?.[0]?.name ?? 'FILE'}` : value;
}

/** @param {Response} response @param {Blob} content @param {number} seconds */
async function responseParts({ status, ok, headers }, content, seconds) {
  const facts = `${duration(seconds)}, ${size(content.size)}`;
  const line = el(
    'p',
    el('span', { className: `pill ${ok ? 'succeeded' : 'failed'}` }, status),
    ` ${facts}`,
  );
  const type = headers.get('content-type') ?? '';
  if (/json|text/.test(type)) {
    const text = await content.text();
    return [
      line,
      el('pre', { tabIndex: 0, role: 'group', 'aria-label': 'Response' }, pretty(text, type)),
    ];
  }
  const save = () => saveBlob(content, 'response');
  return [line, el('div.row', el('button', { onclick: save }, 'Save the response'))];
}

/** @param {string} text @param {string} type */
function pretty(text, type) {
  return type.startsWith(JSON_TYPE) ? JSON.stringify(JSON.parse(text), null, 2) : text;
}

/** @param {Operation} operation @param {Schemas} schemas */
function requestFields({ requestBody }, schemas) {
  const [content] = Object.values(requestBody?.content ?? {});
  const lists = content ? fieldLists(content.schema, schemas) : [];
  return lists.length === 0 ? [] : [el('h3', 'Fields of the request'), ...lists];
}

/** @param {Operation} operation @param {Schemas} schemas */
function responseItems({ responses }, schemas) {
  return Object.entries(responses).map(([status, { description, content = {} }]) =>
    el(
      'li',
      el('code', status),
      ' ',
      ...marked(description),
      ...Object.values(content).map(({ schema }) => nested(schema, schemas)),
    ),
  );
}

/** A list for each object that the schema describes. @param {Schema} schema @param {Schemas} schemas @returns {Node[]} */
function fieldLists(schema, schemas) {
  return objectsOf(schema, schemas).flatMap((fields, i) => [
    ...(i > 0 ? [el('p.help', 'or')] : []),
    el(
      'ul.fields',
      ...fields.map(({ name, schema: field, isRequired }) =>
        el(
          'li',
          el('code', name),
          el('span.help', ` ${typeText(field)}${isRequired ? ', required' : ''}`),
          field['description'] && el('p', ...marked(field['description'])),
          nested(field, schemas),
        ),
      ),
    ),
  ]);
}

/** @param {Schema} schema @param {Schemas} schemas */
function nested(schema, schemas) {
  if (objectsOf(schema, schemas).length === 0) return null;
  return openedOnce('details.more', ['Fields'], () => fieldLists(schema, schemas));
}

/** Text whose parts between backticks are code. @param {string} text */
function marked(text) {
  return text.split('`').map((part, i) => (i % 2 === 1 ? el('code', part) : part));
}
