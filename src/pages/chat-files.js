// Chats as a JSON file: a list that Open WebUI imports, in which each chat also has the playground's own form. Files of Open
// WebUI are read, too. Pure.
import { newAnswer } from './chat.js';
import { addTurn, chooseTurn, createChat, createId, pathOf, titleOf } from './chat-tree.js';

/** @typedef {import('./chat-tree.js').Chat} Chat */
/** @typedef {import('./chat-tree.js').TurnNode} TurnNode */
/** @typedef {Readonly<Record<string, unknown>>} Json */
/** Open WebUI's message. @typedef {{ id: string, parentId: string | null, childrenIds: string[], role: string, content: string, model?: string, timestamp: number }} WebMessage */

/** Parsing a larger file would block the page for seconds. */
export const MAX_FILE_BYTES = 64 * 1024 * 1024;

/** Returns the text of a file with these chats, without token probabilities. @param {readonly Chat[]} chats */
export function toFile(chats) {
  return JSON.stringify(chats.map(toEntry), null, 1);
}

/** @param {Chat} chat */
function toEntry(chat) {
  const seconds = Math.floor(chat.updatedAt / 1000);
  const title = titleOf(chat);
  const last = pathOf(chat).at(-1)?.turn;
  const models = last?.answers.map(({ model }) => model) ?? [];
  const history = { messages: toMessages(chat, seconds), currentId: last?.id ?? null };
  const turns = chat.turns.map((turn) => ({
    ...turn,
    answers: turn.answers.map((answer) => ({ ...answer, logprobs: [] })),
  }));
  return {
    id: chat.id,
    title,
    chat: { title, models, history, messages: [], timestamp: chat.updatedAt },
    created_at: seconds,
    updated_at: seconds,
    lorikeet: { ...chat, turns },
  };
}

/** Returns Open WebUI's messages by id. Turns with one prompt in one place share its message. @param {Chat} chat @param {number} timestamp */
function toMessages(chat, timestamp) {
  /** @type {Record<string, WebMessage>} */
  const messages = {};
  /** @type {Map<string, string>} */
  const prompts = new Map();
  /** @param {Omit<WebMessage, 'childrenIds' | 'timestamp'>} message */
  const add = (message) => {
    messages[message.id] = { ...message, childrenIds: [], timestamp };
    if (message.parentId) messages[message.parentId]?.childrenIds.push(message.id);
  };
  for (const { id, parent, prompt, answers } of chat.turns) {
    const place = JSON.stringify([parent, prompt]);
    const promptId = prompts.get(place) ?? `${id}-prompt`;
    if (!prompts.has(place))
      add({ id: promptId, parentId: parent || null, role: 'user', content: prompt });
    prompts.set(place, promptId);
    for (const [i, { model, text }] of answers.entries()) {
      const answerId = i === 0 ? id : `${id}-${i}`;
      add({ id: answerId, parentId: promptId, role: 'assistant', content: text, model });
    }
  }
  return messages;
}

/**
 * Reads the text of a file.
 * @param {string} text
 * @returns {Chat[]}
 * @throws {Error} if it contains no chats; the message is for the user
 */
export function parseFile(text) {
  /** @type {unknown} */
  let content;
  try {
    content = JSON.parse(text);
  } catch (error) {
    throw new Error(`The file is not JSON: ${/** @type {Error} */ (error).message}`);
  }
  const entries = Array.isArray(content) ? content : [content];
  return entries.map((entry, i) => {
    try {
      return isObject(entry?.lorikeet) ? parseChat(entry.lorikeet) : parseWebChat(entry);
    } catch (error) {
      throw new Error(`Chat ${i + 1} of the file: ${/** @type {Error} */ (error).message}`);
    }
  });
}

/** @param {Json} value @returns {Chat} */
function parseChat(value) {
  const turns = listOf(value, 'turns').map(parseTurn);
  checkTree(turns);
  return {
    ...createChat(textOf(value, 'id')),
    updatedAt: numberOf(value, 'updatedAt'),
    title: parseText(value, 'title'),
    draft: parseText(value, 'draft'),
    settings: parseText(value, 'settings'),
    turns,
  };
}

/** Throws if turns have no way to a first turn. @param {readonly TurnNode[]} turns */
function checkTree(turns) {
  const parents = new Map(turns.map(({ id, parent }) => [id, parent]));
  const rooted = new Set(['']);
  for (const { id } of turns) {
    /** @type {Set<string>} */
    const climbed = new Set();
    for (let at = id; !rooted.has(at); at = /** @type {string} */ (parents.get(at))) {
      if (climbed.has(at) || !parents.has(at)) throw new Error('"turns" is not a tree.');
      climbed.add(at);
    }
    for (const one of climbed) rooted.add(one);
  }
}

/** Reads a text of a chat. Version 0.3.0 wrote it with the time of its change. @param {Json} chat @param {string} name */
function parseText(chat, name) {
  const text = chat[name];
  return isObject(text) ? textOf(text, 'value') : textOf(chat, name);
}

/** @param {unknown} value @returns {TurnNode} */
function parseTurn(value) {
  const turn = asObject(value, 'a turn');
  return {
    id: textOf(turn, 'id'),
    parent: textOf(turn, 'parent'),
    prompt: textOf(turn, 'prompt'),
    chosenAt: numberOf(turn, 'chosenAt'),
    answers: listOf(turn, 'answers').map(parseAnswer),
  };
}

/** @param {unknown} value @returns {import('./chat.js').Answer} */
function parseAnswer(value) {
  const answer = asObject(value, 'an answer');
  const { state, validity } = answer;
  return {
    ...newAnswer(textOf(answer, 'model')),
    text: textOf(answer, 'text'),
    isJson: answer['isJson'] === true,
    state: state === 'done' || state === 'failed' ? state : 'stopped',
    problem: textOf(answer, 'problem'),
    facts: listOf(answer, 'facts').map(String),
    calls: listOf(answer, 'calls').map((one) => {
      const call = asObject(one, 'a call');
      const [id, name, text] = ['id', 'name', 'arguments'].map((key) => textOf(call, key));
      return { id: id ?? '', name: name ?? '', arguments: text ?? '' };
    }),
    classes: listOf(answer, 'classes').map((one) => {
      const { label, share } = asObject(one, 'a class');
      return { label: String(label), share: Number(share) };
    }),
    validity: isObject(validity)
      ? { isValid: validity['isValid'] === true, text: textOf(validity, 'text') }
      : undefined,
  };
}

/** Reads a chat of Open WebUI: a turn for each of its answers. @param {unknown} entry @returns {Chat} */
function parseWebChat(entry) {
  const outer = asObject(entry, 'it');
  const chat = isObject(outer['chat']) ? outer['chat'] : outer;
  const history = asObject(chat['history'], '"history"');
  const messages = asObject(history['messages'], '"history.messages"');
  const seconds = Number(outer['updated_at'] ?? Date.now() / 1000);
  const title = typeof outer['title'] === 'string' ? outer['title'] : '';
  let result = { ...createChat(), updatedAt: seconds * 1000, title };
  /** The turn of each message. @type {Map<string, string>} */
  const turnOf = new Map();
  for (const { prompt, answer } of exchangesOf(messages)) {
    const id = createId();
    const parent = turnOf.get(String(prompt['parentId'])) ?? '';
    const done = { ...newAnswer(String(answer?.['model'] ?? 'base')), text: contentOf(answer) };
    const state = answer ? /** @type {const} */ ('done') : /** @type {const} */ ('stopped');
    result = addTurn(result, {
      id,
      parent,
      prompt: contentOf(prompt),
      answers: [{ ...done, state }],
    });
    turnOf.set(String((answer ?? prompt)['id']), id);
  }
  const byId = new Map(result.turns.map((turn) => [turn.id, turn]));
  let chosen = byId.get(turnOf.get(String(history['currentId'])) ?? '');
  for (; chosen; chosen = byId.get(chosen.parent)) result = chooseTurn(result, chosen.id);
  return result;
}

/** Returns each prompt with each of its answers, parents first. @param {Json} messages */
function exchangesOf(messages) {
  const all = Object.values(messages).map((message) => asObject(message, 'a message'));
  /** @type {Map<unknown, Json[]>} */
  const children = new Map();
  for (const message of all) {
    const parent = message['parentId'] ?? null;
    children.set(parent, [...(children.get(parent) ?? []), message]);
  }
  const exchanges = [];
  const open = [...(children.get(null) ?? [])];
  for (const message of open) {
    const next = children.get(message['id']) ?? [];
    for (const child of next) open.push(child); // a message has one parent, so it comes only once
    if (message['role'] !== 'user') continue;
    const answers = next.filter(({ role }) => role === 'assistant');
    for (const answer of answers.length > 0 ? answers : [undefined]) {
      exchanges.push({ prompt: message, answer });
    }
  }
  return exchanges;
}

/** The text of a message, which may have several parts. @param {Json | undefined} message */
function contentOf(message) {
  const content = message?.['content'] ?? '';
  if (!Array.isArray(content)) return String(content);
  return content.map((part) => (isObject(part) ? String(part['text'] ?? '') : '')).join('\n');
}

/** @param {unknown} value @returns {value is Json} */
function isObject(value) {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** @param {unknown} value @param {string} what @returns {Json} */
function asObject(value, what) {
  if (!isObject(value)) throw new Error(`${what} must be an object.`);
  return value;
}

/** @param {Json} object @param {string} name @returns {string} */
function textOf(object, name) {
  const value = object[name];
  if (typeof value !== 'string') throw new Error(`"${name}" must be a text.`);
  return value;
}

/** @param {Json} object @param {string} name @returns {number} */
function numberOf(object, name) {
  const value = object[name];
  if (typeof value !== 'number') throw new Error(`"${name}" must be a number.`);
  return value;
}

/** @param {Json} object @param {string} name @returns {unknown[]} */
function listOf(object, name) {
  const value = object[name];
  if (!Array.isArray(value)) throw new Error(`"${name}" must be a list.`);
  return value;
}
