// A conversation as plain data: a tree of turns with a chosen path. A retried answer is a sibling with the same prompt, an
// edited prompt a sibling with another one, so nothing that was said is replaced. Pure: touches no element and no storage.

/** @typedef {import('./chat.js').Answer} Answer */

/**
 * A turn in the tree.
 * @typedef {object} TurnNode
 * @property {string} id
 * @property {string} parent the id of the turn before; empty for a first turn
 * @property {string} prompt
 * @property {readonly Answer[]} answers one in each column
 * @property {number} chosenAt when it was chosen among its siblings, in the chat's logical time
 */

/**
 * @typedef {object} Chat
 * @property {string} id
 * @property {number} revision counts the saves; 0 for a chat that was never saved
 * @property {number} updatedAt in ms
 * @property {string} title as the user typed it; empty: the first prompt is shown
 * @property {string} draft the message that is typed and not sent
 * @property {string} settings in the form of the address
 * @property {readonly TurnNode[]} turns by id, which begins with the time of creation
 */

/** A chat's entry in the list. @typedef {{ id: string, title: string, updatedAt: number }} Summary */

/**
 * A turn on the chosen path.
 * @typedef {object} Step
 * @property {TurnNode} turn
 * @property {readonly TurnNode[]} variants the turns in its place with the same prompt, oldest first
 * @property {readonly TurnNode[]} branches for each prompt in its place, the turn that was chosen last
 */

const TITLE_LENGTH = 80;

let lastId = '';

/** Creates an id that sorts after the earlier ones of this tab. `crypto.randomUUID` exists on HTTPS only. */
export function createId() {
  const random = crypto.getRandomValues(new Uint32Array(2));
  const lastMs = Number.parseInt(lastId.slice(0, 9) || '0', 36);
  const ms = Math.max(Date.now(), lastMs + 1);
  lastId = ms.toString(36).padStart(9, '0') + [...random].map((n) => n.toString(36)).join('');
  return lastId;
}

/** Creates a chat without turns. @returns {Chat} */
export function createChat(id = createId()) {
  return { id, revision: 0, updatedAt: Date.now(), title: '', draft: '', settings: '', turns: [] };
}

/** Returns the chosen path, first turn first. @param {Chat} chat @returns {Step[]} */
export function pathOf({ turns }) {
  /** @type {Map<string, TurnNode[]>} */
  const children = new Map();
  for (const turn of turns) children.set(turn.parent, [...(children.get(turn.parent) ?? []), turn]);
  /** @type {Step[]} */
  const path = [];
  for (let siblings = children.get(''); siblings; ) {
    const turn = lastChosen(siblings);
    const variants = siblings.filter(({ prompt }) => prompt === turn.prompt);
    path.push({ turn, variants, branches: branchesOf(siblings) });
    siblings = children.get(turn.id);
  }
  return path;
}

/** @param {readonly TurnNode[]} siblings */
function branchesOf(siblings) {
  const prompts = [...new Set(siblings.map(({ prompt }) => prompt))];
  return prompts.map((text) => lastChosen(siblings.filter(({ prompt }) => prompt === text)));
}

/** @param {readonly TurnNode[]} turns at least one @returns {TurnNode} */
function lastChosen(turns) {
  return turns.reduce((a, b) => (b.chosenAt >= a.chosenAt ? b : a));
}

/**
 * Adds a turn and chooses it.
 * @param {Chat} chat
 * @param {Omit<TurnNode, 'chosenAt'>} turn
 * @returns {Chat}
 */
export function addTurn(chat, turn) {
  return { ...chat, turns: [...chat.turns, { ...turn, chosenAt: nextTime(chat) }] };
}

/** Chooses a turn among its siblings. @param {Chat} chat @param {string} id @returns {Chat} */
export function chooseTurn(chat, id) {
  const chosenAt = nextTime(chat);
  const turns = chat.turns.map((turn) => (turn.id === id ? { ...turn, chosenAt } : turn));
  return { ...chat, turns };
}

/** Removes a turn. Its children take its place. @param {Chat} chat @param {string} id @returns {Chat} */
export function removeTurn(chat, id) {
  const parent = chat.turns.find((turn) => turn.id === id)?.parent ?? '';
  const others = chat.turns.filter((turn) => turn.id !== id);
  return {
    ...chat,
    turns: others.map((turn) => (turn.parent === id ? { ...turn, parent } : turn)),
  };
}

/** @param {Chat} chat */
function nextTime({ turns }) {
  return 1 + turns.reduce((at, { chosenAt }) => Math.max(at, chosenAt), 0);
}

/**
 * Returns the turns of two copies of a chat. Of a turn that both have, the copy whose answers got further stays; if neither did,
 * the first one.
 * @param {Chat} first
 * @param {Chat} second
 * @returns {TurnNode[]}
 */
export function joinTurns(first, second) {
  const turns = new Map(first.turns.map((turn) => [turn.id, turn]));
  for (const turn of second.turns) {
    const other = turns.get(turn.id);
    if (!other || progressOf(turn) > progressOf(other)) turns.set(turn.id, turn);
  }
  return [...turns.values()].sort((a, b) => (a.id < b.id ? -1 : 1));
}

/** @param {TurnNode} turn */
function progressOf({ answers }) {
  const lengths = answers.map(({ text, calls, state }) => {
    return text.length + JSON.stringify(calls).length + Number(state === 'done');
  });
  return lengths.reduce((sum, length) => sum + length, 0);
}

/**
 * Returns a stored chat as it is shown: answers that are not being written here have stopped. Undefined if it was removed:
 * version 0.3.0 stored removed chats and turns as well, and texts with the times of their changes.
 * @param {any} stored
 * @returns {Chat | undefined}
 */
export function toChat({ id, updatedAt, revision = 1, turns, ...stored }) {
  const isRemoved = (/** @type {{ removals?: number }} */ { removals = 0 }) => removals % 2 === 1;
  if (isRemoved(stored)) return undefined;
  const [title, draft, settings] = ['title', 'draft', 'settings'].map((name) => {
    return stored[name].value ?? stored[name];
  });
  const chat = { id, revision, updatedAt, title, draft, settings, turns: turns.map(toTurn) };
  return turns
    .filter(isRemoved)
    .reduce(
      (/** @type {Chat} */ rest, /** @type {TurnNode} */ turn) => removeTurn(rest, turn.id),
      chat,
    );
}

/** @param {TurnNode & { removals?: number }} stored @returns {TurnNode} */
function toTurn({ removals, ...turn }) {
  const answers = turn.answers.map((answer) =>
    answer.state === 'running'
      ? { ...answer, state: /** @type {const} */ ('stopped'), facts: ['not finished'] }
      : answer,
  );
  return { ...turn, answers };
}

/** Returns a chat's title in one line; empty if it has no text at all. @param {Chat} chat */
export function titleOf(chat) {
  const text = chat.title || (pathOf(chat)[0]?.turn.prompt ?? '') || chat.draft;
  const line = text.trim().replace(/\s+/g, ' ');
  return line.length > TITLE_LENGTH ? `${line.slice(0, TITLE_LENGTH - 1)}…` : line;
}

/** Whether a chat's title, or any prompt or answer on any branch, contains a text. @param {Chat} chat @param {string} text */
export function contains({ title, turns }, text) {
  const parts = turns.flatMap(({ prompt, answers }) => [prompt, ...answers.map((one) => one.text)]);
  const wanted = text.toLowerCase();
  return [title, ...parts].some((part) => part.toLowerCase().includes(wanted));
}
