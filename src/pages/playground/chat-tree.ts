// A conversation as plain data: a tree of turns with a chosen path. A retried answer is a sibling with the same prompt, an
// edited prompt a sibling with another one, so nothing that was said is replaced.
import { createId } from '../ids.ts';
import type { Answer, Turn } from './chat.ts';

/** A turn in the tree. */
export interface TurnNode extends Turn {
  readonly id: string;
  /** The id of the turn before; empty for a first turn. */
  readonly parent: string;
  /** When it was chosen among its siblings, in the chat's logical time. */
  readonly chosenAt: number;
}

/** A chat as it is stored. */
export interface Chat {
  readonly id: string;
  /** Counts the saves; 0 for a chat that was never saved. */
  readonly revision: number;
  /** In ms. */
  readonly updatedAt: number;
  /** As the user typed it; empty: the first prompt is shown. */
  readonly title: string;
  /** The message that is typed and not sent. */
  readonly draft: string;
  /** In the form of the address. */
  readonly settings: string;
  /** By id, which begins with the time of creation. */
  readonly turns: readonly TurnNode[];
}

/** A chat's entry in the list. */
export type Summary = Pick<Chat, 'id' | 'title' | 'updatedAt'>;

/** A turn on the chosen path. */
export interface Step {
  readonly turn: TurnNode;
  /** The turns in its place with the same prompt, oldest first. */
  readonly variants: readonly TurnNode[];
  /** For each prompt in its place, the turn that was chosen last. */
  readonly branches: readonly TurnNode[];
}

const TITLE_LENGTH = 80;

/** Creates a chat without turns. */
export function createChat(id = createId()): Chat {
  return { id, revision: 0, updatedAt: Date.now(), title: '', draft: '', settings: '', turns: [] };
}

/** Returns the chosen path, first turn first. */
export function pathOf({ turns }: Chat): Step[] {
  const children = new Map<string, TurnNode[]>();
  for (const turn of turns) children.set(turn.parent, [...(children.get(turn.parent) ?? []), turn]);
  const path: Step[] = [];
  for (let siblings = children.get(''); siblings; ) {
    const turn = lastChosen(siblings);
    const variants = siblings.filter(({ prompt }) => prompt === turn.prompt);
    path.push({ turn, variants, branches: branchesOf(siblings) });
    siblings = children.get(turn.id);
  }
  return path;
}

function branchesOf(siblings: readonly TurnNode[]): TurnNode[] {
  const prompts = [...new Set(siblings.map(({ prompt }) => prompt))];
  return prompts.map((text) => lastChosen(siblings.filter(({ prompt }) => prompt === text)));
}

function lastChosen(turns: readonly TurnNode[]): TurnNode {
  return turns.reduce((a, b) => (b.chosenAt >= a.chosenAt ? b : a));
}

/** Adds a turn and chooses it. */
export function addTurn(chat: Chat, turn: Omit<TurnNode, 'chosenAt'>): Chat {
  return { ...chat, turns: [...chat.turns, { ...turn, chosenAt: nextTime(chat) }] };
}

/** Chooses a turn among its siblings. */
export function chooseTurn(chat: Chat, id: string): Chat {
  return withTurn(chat, id, { chosenAt: nextTime(chat) });
}

/** Changes an answer of a turn. */
export function withAnswer(
  chat: Chat,
  { id, column }: { readonly id: string; readonly column: number },
  change: Partial<Answer>,
): Chat {
  const turn = chat.turns.find((one) => one.id === id);
  const answers = turn?.answers.map((one, i) => (i === column ? { ...one, ...change } : one));
  return answers ? withTurn(chat, id, { answers }) : chat;
}

function withTurn(chat: Chat, id: string, change: Partial<TurnNode>): Chat {
  const turns = chat.turns.map((turn) => (turn.id === id ? { ...turn, ...change } : turn));
  return { ...chat, turns };
}

/** Removes a turn. Its children take its place. */
export function removeTurn(chat: Chat, id: string): Chat {
  const parent = chat.turns.find((turn) => turn.id === id)?.parent ?? '';
  const others = chat.turns.filter((turn) => turn.id !== id);
  return {
    ...chat,
    turns: others.map((turn) => (turn.parent === id ? { ...turn, parent } : turn)),
  };
}

function nextTime({ turns }: Chat): number {
  return 1 + turns.reduce((at, { chosenAt }) => Math.max(at, chosenAt), 0);
}

/**
 * Returns the turns of two copies of a chat. If both have a turn, the one with more of its answers is kept, else the
 * first.
 */
export function joinTurns(first: Chat, second: Chat): TurnNode[] {
  const turns = new Map(first.turns.map((turn) => [turn.id, turn]));
  for (const turn of second.turns) {
    const other = turns.get(turn.id);
    if (!other || progressOf(turn) > progressOf(other)) turns.set(turn.id, turn);
  }
  return [...turns.values()].sort((a, b) => (a.id < b.id ? -1 : 1));
}

function progressOf({ answers }: TurnNode): number {
  const lengths = answers.map(({ text, calls, state }) => {
    return text.length + JSON.stringify(calls).length + Number(state === 'done');
  });
  return lengths.reduce((sum, length) => sum + length, 0);
}

/** Version 0.3.0 stored removed chats and turns as well, and texts with the times of their changes. */
interface Removable {
  readonly removals?: number;
}
type StoredText = string | { readonly value: string };
type StoredTurn = TurnNode & Removable;
/** A chat as this version or 0.3.0 stored it. */
export interface StoredChat extends Removable {
  readonly id: string;
  readonly updatedAt: number;
  readonly revision?: number;
  readonly title: StoredText;
  readonly draft: StoredText;
  readonly settings: StoredText;
  readonly turns: readonly StoredTurn[];
}

/** Returns a stored chat as it is shown: answers that are not being written here have stopped. Undefined if it was removed. */
export function toChat(stored: StoredChat): Chat | undefined {
  const isRemoved = ({ removals = 0 }: Removable) => removals % 2 === 1;
  if (isRemoved(stored)) return undefined;
  const { id, updatedAt, revision = 1, turns } = stored;
  const [title, draft, settings] = [stored.title, stored.draft, stored.settings].map((text) => {
    return typeof text === 'string' ? text : text.value;
  }) as [string, string, string];
  const chat = { id, revision, updatedAt, title, draft, settings, turns: turns.map(toTurn) };
  return turns.filter(isRemoved).reduce<Chat>((rest, turn) => removeTurn(rest, turn.id), chat);
}

function toTurn({ removals, ...turn }: StoredTurn): TurnNode {
  const answers = turn.answers.map((answer) =>
    answer.state === 'running'
      ? { ...answer, state: 'stopped' as const, facts: ['not finished'] }
      : answer,
  );
  return { ...turn, answers };
}

/** Returns a chat's title in one line; empty if it has no text at all. */
export function titleOf(chat: Chat): string {
  const text = chat.title || (pathOf(chat)[0]?.turn.prompt ?? '') || chat.draft;
  const line = text.trim().replace(/\s+/g, ' ');
  return line.length > TITLE_LENGTH ? `${line.slice(0, TITLE_LENGTH - 1)}…` : line;
}

/** Whether a chat's title, or any prompt or answer on any branch, contains a text. */
export function contains({ title, turns }: Chat, text: string): boolean {
  const parts = turns.flatMap(({ prompt, answers }) => [prompt, ...answers.map((one) => one.text)]);
  const wanted = text.toLowerCase();
  return [title, ...parts].some((part) => part.toLowerCase().includes(wanted));
}
