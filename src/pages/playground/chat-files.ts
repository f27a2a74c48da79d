// Chats as a JSON file: a list that Open WebUI imports, in which each chat also has the playground's own form. Files of Open
// WebUI are also read.
import { createId } from '../ids.ts';
import { isObject, type JsonObject } from '../json.ts';
import { newAnswer } from './chat.ts';
import {
  addTurn,
  type Chat,
  chooseTurn,
  createChat,
  pathOf,
  type StoredChat,
  type TurnNode,
  titleOf,
  toChat,
} from './chat-tree.ts';

/** Open WebUI's message. */
interface WebMessage {
  readonly id: string;
  readonly parentId: string | null;
  readonly childrenIds: string[];
  readonly role: string;
  readonly content: string;
  readonly model?: string;
  readonly timestamp: number;
}

/** Parsing a larger file would block the page for seconds. */
export const MAX_FILE_BYTES = 64 * 1024 * 1024;

/** Returns the text of a file with these chats, without token probabilities. */
export function toFile(chats: readonly Chat[]): string {
  return JSON.stringify(chats.map(toEntry), null, 1);
}

function toEntry(chat: Chat) {
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

/** Returns Open WebUI's messages by id. Sibling turns with the same prompt share its message. */
function toMessages(chat: Chat, timestamp: number): Record<string, WebMessage> {
  const messages: Record<string, WebMessage> = {};
  const prompts = new Map<string, string>();
  const add = (message: Omit<WebMessage, 'childrenIds' | 'timestamp'>) => {
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

/** Reads the text of a file. Throws an error for the user if it contains no chats. */
export function parseFile(text: string): Chat[] {
  let content: unknown;
  try {
    content = JSON.parse(text);
  } catch (error) {
    throw new Error(`The file is not JSON: ${(error as Error).message}`);
  }
  const entries: unknown[] = Array.isArray(content) ? content : [content];
  return entries.map((entry, i) => {
    try {
      const own = isObject(entry) && entry['lorikeet'];
      return isObject(own) ? parseChat(own) : parseWebChat(entry);
    } catch (error) {
      throw new Error(`Chat ${i + 1} of the file: ${(error as Error).message}`);
    }
  });
}

/** The type of each field; lists contain objects of this form. Version 0.3.0 wrote texts of a chat with their times. */
interface Shape {
  readonly [field: string]: 'string' | 'number' | 'list' | Shape;
}
const ANSWER: Shape = {
  model: 'string',
  text: 'string',
  problem: 'string',
  facts: 'list',
  calls: { id: 'string', name: 'string', arguments: 'string' },
  classes: { label: 'string', share: 'number' },
};
const TURN: Shape = {
  id: 'string',
  parent: 'string',
  prompt: 'string',
  chosenAt: 'number',
  answers: ANSWER,
};
const CHAT: Shape = { id: 'string', updatedAt: 'number', turns: TURN };

/** Throws if an object does not have the fields of a shape. */
function check(object: JsonObject, shape: Shape): void {
  for (const [field, type] of Object.entries(shape)) {
    const value = object[field];
    if (typeof type === 'object' || type === 'list') {
      if (!Array.isArray(value)) throw new Error(`"${field}" must be a list.`);
      if (type !== 'list') for (const one of value) check(asObject(one, `"${field}"`), type);
    } else if (typeof value !== type) {
      throw new Error(`"${field}" must be a ${type === 'string' ? 'text' : type}.`);
    }
  }
}

function parseChat(value: JsonObject): Chat {
  check(value, CHAT);
  const { id, revision: _, ...chat } = toChat(value as unknown as StoredChat) ?? createChat();
  for (const text of ['title', 'draft', 'settings'] as const) check(chat, { [text]: 'string' });
  checkTree(chat.turns);
  const turns = chat.turns.map((turn) => {
    const answers = turn.answers.map((answer) => ({ ...newAnswer(''), ...answer }));
    return { ...turn, answers };
  });
  return { ...chat, id, revision: 0, turns };
}

/** Throws if turns have no way to a first turn. */
function checkTree(turns: readonly TurnNode[]): void {
  const parents = new Map(turns.map(({ id, parent }) => [id, parent]));
  const rooted = new Set(['']);
  for (const { id } of turns) {
    const climbed = new Set<string>();
    for (let at = id; !rooted.has(at); at = parents.get(at)!) {
      if (climbed.has(at) || !parents.has(at)) throw new Error('"turns" is not a tree.');
      climbed.add(at);
    }
    for (const one of climbed) rooted.add(one);
  }
}

/** Reads a chat of Open WebUI: a turn for each of its answers. */
function parseWebChat(entry: unknown): Chat {
  const outer = asObject(entry, 'it');
  const chat = isObject(outer['chat']) ? outer['chat'] : outer;
  const history = asObject(chat['history'], '"history"');
  const messages = asObject(history['messages'], '"history.messages"');
  const seconds = Number(outer['updated_at'] ?? Date.now() / 1000);
  const title = typeof outer['title'] === 'string' ? outer['title'] : '';
  let result: Chat = { ...createChat(), updatedAt: seconds * 1000, title };
  /** The turn of each message. */
  const turnOf = new Map<string, string>();
  for (const { prompt, answer } of exchangesOf(messages)) {
    const id = createId();
    const answers = [
      {
        ...newAnswer(String(answer?.['model'] ?? 'base')),
        text: contentOf(answer),
        state: answer ? ('done' as const) : ('stopped' as const),
      },
    ];
    const parent = turnOf.get(String(prompt['parentId'])) ?? '';
    result = addTurn(result, { id, parent, prompt: contentOf(prompt), answers });
    turnOf.set(String((answer ?? prompt)['id']), id);
  }
  const byId = new Map(result.turns.map((turn) => [turn.id, turn]));
  let chosen = byId.get(turnOf.get(String(history['currentId'])) ?? '');
  for (; chosen; chosen = byId.get(chosen.parent)) result = chooseTurn(result, chosen.id);
  return result;
}

/** Returns each prompt with each of its answers, parents first. */
function exchangesOf(messages: JsonObject) {
  const all = Object.values(messages).map((message) => asObject(message, 'a message'));
  const children = new Map<unknown, JsonObject[]>();
  for (const message of all) {
    const parent = message['parentId'] ?? null;
    children.set(parent, [...(children.get(parent) ?? []), message]);
  }
  const exchanges: { prompt: JsonObject; answer: JsonObject | undefined }[] = [];
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

/** The text of a message, which may have several parts. */
function contentOf(message: JsonObject | undefined): string {
  const content = message?.['content'] ?? '';
  if (!Array.isArray(content)) return String(content);
  return content.map((part) => (isObject(part) ? String(part['text'] ?? '') : '')).join('\n');
}

function asObject(value: unknown, what: string): JsonObject {
  if (!isObject(value)) throw new Error(`${what} must be an object.`);
  return value;
}
