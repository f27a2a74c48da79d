// Writes a request as code: curl, TypeScript or Python. A request with `messages` is a chat, one with `input` asks a classifier,
// which OpenAI's clients have no method for. A key is never part of the code, which reads OPENAI_API_KEY.

import { SAMPLING_FIELDS } from './tables.js';

/**
 * @typedef {object} Snippet
 * @property {string} url of the API, ending in `/v1`
 * @property {boolean} hasKeys whether the server needs a key
 * @property {Readonly<Record<string, unknown>>} body the request's
 */

/** Parameters that OpenAI's clients do not have. */
const OURS = new Set(SAMPLING_FIELDS.filter(({ isOpenAi }) => !isOpenAi).map(({ name }) => name));

/** Writers by language. @type {Readonly<Record<string, (snippet: Snippet) => string>>} */
export const LANGUAGES = { curl: toCurl, TypeScript: toTypeScript, Python: toPython };

/** Writes a curl command. @param {Snippet} snippet */
export function toCurl({ url, hasKeys, body }) {
  return curlCommand({
    method: 'POST',
    url: isClassify(body) ? classifyUrl(url) : `${url}/chat/completions`,
    hasKeys,
    body: JSON.stringify(body, null, 2),
  });
}

/**
 * Writes a curl command.
 * @param {object} request
 * @param {string} request.method
 * @param {string} request.url
 * @param {boolean} request.hasKeys
 * @param {string | undefined} [request.body] JSON
 * @param {readonly (readonly [name: string, text: string])[]} [request.parts] of a multipart form
 */
export function curlCommand({ method, url, hasKeys, body, parts = [] }) {
  const isPost = body !== undefined || parts.length > 0; // curl's own choice
  const lines = [
    `curl ${isPost || method === 'GET' ? '' : `-X ${method} `}${shellQuoted(url)}`,
    ...(hasKeys ? ['-H "authorization: Bearer $OPENAI_API_KEY"'] : []),
    ...(body === undefined ? [] : ["-H 'content-type: application/json'", `-d ${quoted(body)}`]),
    ...parts.map(([name, text]) => `-F ${quoted(`${name}=${text}`)}`),
  ];
  return lines.join(' \\\n  ');
}

/** Writes TypeScript for OpenAI's client. @param {Snippet} snippet */
export function toTypeScript({ url, hasKeys, body }) {
  const key = hasKeys ? '' : ", apiKey: 'none'";
  const head = [
    "import OpenAI from 'openai';",
    '',
    `const client = new OpenAI({ baseURL: ${JSON.stringify(url)}${key} });`,
  ];
  if (isClassify(body)) {
    return [
      ...head,
      `const answer = await client.post(${JSON.stringify(classifyUrl(url))}, {`,
      `  body: ${literal(body, '  ')},`,
      '});',
      'console.log(JSON.stringify(answer, null, 2));',
    ].join('\n');
  }
  const { openAi, ours } = split(body);
  const members = openAi.map(([name, value]) => `  ${name}: ${literal(value, '  ')},`);
  // Types of OpenAI's client know no further parameters; in a spread object they are not checked.
  if (ours.length > 0) members.push(`  ...${literal(Object.fromEntries(ours), '  ')},`);
  return [
    ...head,
    'const answer = await client.chat.completions.create({',
    ...members,
    '});',
    `console.log(answer.choices[0]?.${partOf(body)});`,
  ].join('\n');
}

/** Writes Python for OpenAI's client. @param {Snippet} snippet */
export function toPython({ url, hasKeys, body }) {
  if (isClassify(body)) return classifyInPython({ url, hasKeys, body });
  const key = hasKeys ? '' : ', api_key="none"';
  const { openAi, ours } = split(body);
  const members = openAi.map(
    ([name, value]) => `    ${name}=${indented(pythonOf(value), '    ')},`,
  );
  if (ours.length > 0) {
    members.push(`    extra_body=${indented(pythonOf(Object.fromEntries(ours)), '    ')},`);
  }
  return [
    'from openai import OpenAI',
    '',
    `client = OpenAI(base_url=${JSON.stringify(url)}${key})`,
    'answer = client.chat.completions.create(',
    ...members,
    ')',
    `print(answer.choices[0].${partOf(body)})`,
  ].join('\n');
}

/** @param {Readonly<Record<string, unknown>>} body */
function isClassify(body) {
  return 'input' in body;
}

/** @param {string} url of the API */
function classifyUrl(url) {
  return url.replace(/v1$/, 'classify');
}

/** @param {Snippet} snippet */
function classifyInPython({ url, hasKeys, body }) {
  const key = '    "authorization": f"Bearer {os.environ[\'OPENAI_API_KEY\']}",';
  return [
    'import json',
    ...(hasKeys ? ['import os'] : []),
    'from urllib.request import Request, urlopen',
    '',
    `body = ${pythonOf(body)}`,
    'headers = {',
    '    "content-type": "application/json",',
    ...(hasKeys ? [key] : []),
    '}',
    `request = Request(${JSON.stringify(classifyUrl(url))}, json.dumps(body).encode(), headers)`,
    'with urlopen(request) as response:',
    '    [result] = json.load(response)["data"]',
    'print(result["label"], result["probs"])',
  ].join('\n');
}

/** The part of the answer that the code prints: one with calls has no text. @param {Readonly<Record<string, unknown>>} body */
function partOf(body) {
  return 'tools' in body ? 'message' : 'message.content';
}

/** Splits the body into parameters of OpenAI's clients and others. @param {Readonly<Record<string, unknown>>} body */
function split(body) {
  const entries = Object.entries(body);
  return {
    openAi: entries.filter(([name]) => !OURS.has(name)),
    ours: entries.filter(([name]) => OURS.has(name)),
  };
}

/** Writes a TypeScript literal. @param {unknown} value @param {string} by */
function literal(value, by) {
  return indented(JSON.stringify(value, null, 2), by);
}

/**
 * Writes a Python literal. JSON strings are valid in Python, except for lone surrogates, which a prompt cannot contain.
 * @param {unknown} value
 * @returns {string}
 */
function pythonOf(value) {
  if (value === null) return 'None';
  if (typeof value === 'boolean') return value ? 'True' : 'False';
  if (Array.isArray(value)) return listOf('[]', value.map(pythonOf));
  if (typeof value !== 'object') return JSON.stringify(value);
  return listOf(
    '{}',
    Object.entries(value).map(([name, v]) => `${JSON.stringify(name)}: ${pythonOf(v)}`),
  );
}

/** @param {string} brackets @param {readonly string[]} items */
function listOf(brackets, items) {
  if (items.length === 0) return brackets;
  const lines = items.map((item) => `\n    ${indented(item, '    ')},`);
  return `${brackets[0]}${lines.join('')}\n${brackets[1]}`;
}

/** @param {string} text @param {string} by */
function indented(text, by) {
  return text.replaceAll('\n', `\n${by}`);
}

/** @param {string} text */
function shellQuoted(text) {
  return /^[\w:/.@%+=-]+$/.test(text) ? text : quoted(text);
}

/** @param {string} text */
function quoted(text) {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}
