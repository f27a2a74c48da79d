// A conversation as plain data: a tree of turns with a chosen path. A retried answer is a sibling with the same prompt, an
// edited prompt a sibling with another one, so nothing that was said is replaced. Two copies of a chat, such as those of two
// tabs, merge without a loss. Pure: touches no element and no storage.

/** @typedef {import('./chat.js').Answer} Answer */

/**
 * A turn in the tree.
 * @typedef {object} TurnNode
 * @property {string} id
 * @property {string} parent the id of the turn before; empty for a first turn
 * @property {string} prompt
 * @property {readonly Answer[]} answers one in each column
 * @property {number} chosenAt when it was chosen among its siblings, in the chat's logical time
 * @property {number} removals odd: removed. Removing and restoring add one each.
 */

/** A text whose latest write wins, in the chat's logical time. @typedef {{ value: string, at: number }} Register */

/**
 * @typedef {object} Chat
 * @property {string} id
 * @property {number} updatedAt in ms
 * @property {number} removals as in a turn
 * @property {Register} title as the user typed it; empty: the first prompt is shown
 * @property {Register} draft the message that is typed and not sent
 * @property {Register} settings in the form of the address
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
/** @type {Register} */
const EMPTY = { value: '', at: 0 };

let lastId = '';

/** Creates an id that sorts after the earlier ones of this tab. `crypto.randomUUID` exists on HTTPS only. */
export function createId() {
  const random = crypto.getRandomValues(new Uint32Array(2));
  const lastMs = Number.parseInt(lastId.slice(0, 9) || '0', 36);
  const ms = Math.max(Date.now(), lastMs + 1);
  lastId = ms.toString(36).padStart(9, '0') + [...random].map((n) => n.toString(36)).join('');
  return lastId;
}

/** Creates a chat without turns. @param {string} id @returns {Chat} */
export function newChat(id) {
  return { id, updatedAt: 0, removals: 0, title: EMPTY, draft: EMPTY, settings: EMPTY, turns: [] };
}

/** Whether a turn or a chat is removed. @param {{ removals: number }} one */
export function isRemoved({ removals }) {
  return removals % 2 === 1;
}

/**
 * Returns the chosen path, first turn first. The children of a removed turn take its place.
 * @param {Chat} chat
 * @returns {Step[]}
 */
export function pathOf(chat) {
  /** @type {Map<string, TurnNode[]>} */
  const children = new Map();
  for (const [turn, parent] of parentsOf(chat)) {
    children.set(parent, [...(children.get(parent) ?? []), turn]);
  }
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

/**
 * Returns the id of the turn before each turn that is not removed; empty for a first turn.
 * @param {Chat} chat
 * @returns {Map<TurnNode, string>}
 */
export function parentsOf({ turns }) {
  const byId = new Map(turns.map((turn) => [turn.id, turn]));
  const parents = turns
    .filter((turn) => !isRemoved(turn))
    .map((turn) => {
      let parent = byId.get(turn.parent);
      while (parent && isRemoved(parent)) parent = byId.get(parent.parent);
      return /** @type {const} */ ([turn, parent?.id ?? '']);
    });
  return new Map(parents);
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
 * @param {Pick<TurnNode, 'id' | 'parent' | 'prompt' | 'answers'>} turn
 * @returns {Chat}
 */
export function addTurn(chat, turn) {
  const node = { ...turn, chosenAt: nextTime(chat), removals: 0 };
  return { ...chat, turns: [...chat.turns, node] };
}

/** Chooses a turn among its siblings. @param {Chat} chat @param {string} id @returns {Chat} */
export function chooseTurn(chat, id) {
  const chosenAt = nextTime(chat);
  return changeTurn(chat, id, (turn) => ({ ...turn, chosenAt }));
}

/** Removes a turn, or restores it. @param {Chat} chat @param {string} id @returns {Chat} */
export function toggleTurn(chat, id) {
  return changeTurn(chat, id, (turn) => ({ ...turn, removals: turn.removals + 1 }));
}

/** @param {Chat} chat @param {string} id @param {(turn: TurnNode) => TurnNode} change @returns {Chat} */
function changeTurn(chat, id, change) {
  return { ...chat, turns: chat.turns.map((turn) => (turn.id === id ? change(turn) : turn)) };
}

/** Writes a text of a chat. @param {Chat} chat @param {'title' | 'draft' | 'settings'} name @param {string} value @returns {Chat} */
export function writeText(chat, name, value) {
  return chat[name].value === value ? chat : { ...chat, [name]: { value, at: nextTime(chat) } };
}

/** @param {Chat} chat */
function nextTime({ title, draft, settings, turns }) {
  return (
    1 +
    turns.reduce(
      (at, { chosenAt }) => Math.max(at, chosenAt),
      Math.max(title.at, draft.at, settings.at),
    )
  );
}

/**
 * Merges two copies of a chat. The order of merges does not matter, and merging twice changes nothing.
 * @param {Chat} a
 * @param {Chat} b
 * @returns {Chat}
 */
export function mergeChats(a, b) {
  const turns = new Map(a.turns.map((turn) => [turn.id, turn]));
  for (const turn of b.turns) {
    const other = turns.get(turn.id);
    turns.set(turn.id, other ? mergeTurns(other, turn) : turn);
  }
  return {
    id: a.id,
    updatedAt: Math.max(a.updatedAt, b.updatedAt),
    removals: Math.max(a.removals, b.removals),
    title: later(a.title, b.title),
    draft: later(a.draft, b.draft),
    settings: later(a.settings, b.settings),
    turns: [...turns.values()].sort((x, y) => (x.id < y.id ? -1 : 1)),
  };
}

/** @param {TurnNode} a @param {TurnNode} b @returns {TurnNode} */
function mergeTurns(a, b) {
  const [many, few] = a.answers.length < b.answers.length ? [b, a] : [a, b];
  return {
    id: a.id,
    parent: a.parent,
    prompt: a.prompt || b.prompt, // one of them may be stored without content
    answers: many.answers.map((answer, i) => fuller(answer, few.answers[i] ?? answer)),
    chosenAt: Math.max(a.chosenAt, b.chosenAt),
    removals: Math.max(a.removals, b.removals),
  };
}

/** @param {Register} a @param {Register} b @returns {Register} */
function later(a, b) {
  if (a.at !== b.at) return a.at > b.at ? a : b;
  return a.value >= b.value ? a : b;
}

const STATES = ['running', 'stopped', 'failed', 'done'];

/** Returns the copy of an answer that got further. Its text only grows. @param {Answer} a @param {Answer} b @returns {Answer} */
function fuller(a, b) {
  const difference = lengthOf(a) - lengthOf(b) || STATES.indexOf(a.state) - STATES.indexOf(b.state);
  if (difference !== 0) return difference > 0 ? a : b;
  return JSON.stringify(a) >= JSON.stringify(b) ? a : b;
}

/** @param {Answer} answer */
function lengthOf({ text, calls }) {
  return text.length + JSON.stringify(calls).length;
}

/** Returns a chat as it is stored: no text that the user has removed. @param {Chat} chat @returns {Chat} */
export function withoutRemoved(chat) {
  if (isRemoved(chat)) {
    const { id, updatedAt, removals } = chat;
    return { ...newChat(id), updatedAt, removals };
  }
  const turns = chat.turns.map((turn) =>
    isRemoved(turn) ? { ...turn, prompt: '', answers: [] } : turn,
  );
  return { ...chat, turns };
}

/** Returns a stored chat as it is shown: answers that are not being written here have stopped. @param {Chat} chat @returns {Chat} */
export function withoutRunning(chat) {
  const turns = chat.turns.map((turn) => ({
    ...turn,
    answers: turn.answers.map((answer) =>
      answer.state === 'running'
        ? { ...answer, state: /** @type {const} */ ('stopped'), facts: ['not finished'] }
        : answer,
    ),
  }));
  return { ...chat, turns };
}

/** Returns a chat's title in one line; empty if it has no text at all. @param {Chat} chat */
export function titleOf(chat) {
  const text = chat.title.value || (pathOf(chat)[0]?.turn.prompt ?? '') || chat.draft.value;
  const line = text.trim().replace(/\s+/g, ' ');
  return line.length > TITLE_LENGTH ? `${line.slice(0, TITLE_LENGTH - 1)}…` : line;
}

/** Whether a chat's title, or any prompt or answer on any branch, contains a text. @param {Chat} chat @param {string} text */
export function contains(chat, text) {
  const turns = chat.turns.filter((turn) => !isRemoved(turn));
  const parts = turns.flatMap(({ prompt, answers }) => [prompt, ...answers.map((one) => one.text)]);
  const wanted = text.toLowerCase();
  return [chat.title.value, ...parts].some((part) => part.toLowerCase().includes(wanted));
}
