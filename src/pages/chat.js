// A chat as plain data: its turns, the messages that a model gets, its address. Pure: touches no element.
import { isComplete } from './structured.js';

/** @typedef {import('./structured.js').Call} Call */
/** @typedef {{ id: string, type: 'function', function: { name: string, arguments: string } }} SentCall */
/** @typedef {{ role: 'system' | 'user' | 'assistant', content: string | null, tool_calls?: SentCall[] }} Message */
/** @typedef {import('../contracts/openai.ts').ChatTokenLogprob} TokenLogprob */
/** A class and its probability. @typedef {{ label: string, share: number }} ClassShare */

/**
 * One model's answer to one prompt.
 * @typedef {object} Answer
 * @property {string} model
 * @property {string} text as received so far
 * @property {readonly Call[]} calls as received so far
 * @property {boolean} isJson whether the text should be JSON
 * @property {'running' | 'done' | 'stopped' | 'failed'} state
 * @property {readonly string[]} facts such as the speed, in words
 * @property {import('./structured.js').Validity | undefined} validity of JSON and of calls, once the answer has ended
 * @property {string} problem why it failed
 * @property {string} param the field of the request that the server refused, or empty
 * @property {TokenLogprob[]} logprobs one per token, if they were requested
 * @property {readonly ClassShare[]} classes a classifier's, most likely first; the text is the first one's label
 */

/** The body of a request, without the model. @typedef {{ messages: readonly Message[], [parameter: string]: unknown }} ChatBody */

/** A prompt and its answers, one in each column. @typedef {{ prompt: string, answers: readonly Answer[] }} Turn */

/** Creates an answer that has not started. @param {string} model @returns {Answer} */
export function newAnswer(model) {
  return {
    model,
    text: '',
    calls: [],
    isJson: false,
    state: 'running',
    facts: [],
    validity: undefined,
    problem: '',
    param: '',
    logprobs: [],
    classes: [],
  };
}

/** Whether later prompts may see this answer, which may have been cut off. A model would imitate an empty one. @param {Answer} answer */
export function isUsable({ state, text, calls }) {
  return state !== 'running' && (text !== '' || calls.some(isComplete));
}

/** Whether an answer has text or calls. @param {Answer} answer */
export function hasContent({ text, calls }) {
  return text !== '' || calls.length > 0;
}

/** Whether no model gave any answer to this turn. @param {Turn} turn */
export function hasFailed({ answers }) {
  return answers.every((answer) => !hasContent(answer) && /failed|stopped/.test(answer.state));
}

/**
 * Returns the messages for one column. A model sees its own earlier answers; one that joined later sees the answers of the
 * first column. Turns without a usable answer are left out.
 * @param {readonly Turn[]} turns
 * @param {{ column: number, model: string, system: string, prompt: string }} request
 * @returns {Message[]}
 */
export function toMessages(turns, { column, model, system, prompt }) {
  /** @type {Message[]} */
  const messages = system.trim() === '' ? [] : [{ role: 'system', content: system }];
  for (const { prompt: content, answers } of turns) {
    const sameColumn = answers[column]?.model === model ? answers[column] : undefined;
    const answer = sameColumn ?? answers.find((one) => one.model === model) ?? answers[0];
    if (!answer || !isUsable(answer)) continue;
    messages.push({ role: 'user', content }, toMessage(answer));
  }
  return [...messages, { role: 'user', content: prompt }];
}

/** @param {Answer} answer @returns {Message} */
function toMessage({ text, calls }) {
  if (!calls.some(isComplete)) return { role: 'assistant', content: text };
  const sentCalls = calls.filter(isComplete).map(({ id, ...called }) => ({
    id,
    type: /** @type {const} */ ('function'),
    function: called,
  }));
  return { role: 'assistant', content: text || null, tool_calls: sentCalls };
}

/**
 * The playground's settings in its address. Models are in the query. Text that the user typed is in the fragment, which
 * browsers do not send to a server.
 * @typedef {object} Link
 * @property {readonly string[]} models one per column
 * @property {string} system
 * @property {string} prompt
 * @property {Readonly<Record<string, string>>} parameters as typed, by the API's names
 */

/** Returns the address `?query#fragment` of a link. @param {Link} link @returns {string} */
export function toAddress({ models: [model = '', ...beside], system, prompt, parameters }) {
  const query = new URLSearchParams([
    ['model', model],
    ...beside.filter(Boolean).map((name) => ['beside', name]),
  ]);
  const texts = Object.entries({ ...parameters, system, prompt }).filter(([, value]) => value);
  const fragment = new URLSearchParams(texts).toString();
  return `?${query}${fragment && `#${fragment}`}`;
}

/**
 * Reads a link from an address. It has no models if the address names none.
 * @param {string} address `?query#fragment`
 * @param {readonly string[]} names the known parameters; others are ignored
 * @returns {Link}
 */
export function parseAddress(address, names) {
  const { searchParams, hash } = new URL(address, 'http://localhost/');
  const texts = new URLSearchParams(hash.slice(1));
  const parameters = Object.fromEntries(
    names.flatMap((name) => {
      const value = texts.get(name);
      return value === null ? [] : [[name, value]];
    }),
  );
  const model = searchParams.get('model') ?? '';
  return {
    models: model === '' ? [] : [model, ...searchParams.getAll('beside').filter(Boolean)],
    system: texts.get('system') ?? '',
    prompt: texts.get('prompt') ?? '',
    parameters,
  };
}

/**
 * Returns the most likely classes of a text, at most ten.
 * @param {import('../contracts/openai.ts').ClassificationList['data'][number]} result
 * @param {readonly string[]} labels the names of the classes; those without a name are called as in transformers
 * @returns {ClassShare[]}
 */
export function likelyClasses({ probs }, labels) {
  const shares = probs.map((share, i) => ({ label: labels[i] ?? `LABEL_${i}`, share }));
  return shares.sort((a, b) => b.share - a.share).slice(0, MAX_CLASSES);
}

const MAX_CLASSES = 10;
