// A chat as a tree of turns: the chosen path, branches and variants, removal, and merges of copies from several tabs.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { type Answer, newAnswer } from '../../src/pages/chat.js';
import {
  addTurn,
  type Chat,
  chooseTurn,
  contains,
  createId,
  isRemoved,
  mergeChats,
  newChat,
  pathOf,
  titleOf,
  toggleTurn,
  withoutRemoved,
  withoutRunning,
  writeText,
} from '../../src/pages/chat-tree.js';

const done = (text: string, state: Answer['state'] = 'done'): Answer => ({
  ...newAnswer('a'),
  text,
  state,
});
const add = (chat: Chat, id: string, parent: string, prompt = id) =>
  addTurn(chat, { id, parent, prompt, answers: [done(`answer ${id}`)] });
const ids = (chat: Chat) => pathOf(chat).map(({ turn }) => turn.id);
const places = (chat: Chat) =>
  pathOf(chat).map(({ variants, branches }) => [
    variants.map(({ id }) => id).join(),
    branches.map(({ id }) => id).join(),
  ]);

test('a retry is a variant, an edit is a branch, and each keeps the turns after it', () => {
  let chat = add(add(newChat('c'), '1', ''), '2', '1');
  chat = add(chat, '3', '', '1'); // the first prompt again
  assert.deepEqual(ids(chat), ['3']);
  assert.deepEqual(places(chat), [['1,3', '3']]);
  chat = chooseTurn(chat, '1');
  assert.deepEqual(ids(chat), ['1', '2']);
  chat = add(chat, '4', '', 'edited');
  assert.deepEqual(places(chat), [['4', '1,4']]);
  assert.deepEqual(ids(chooseTurn(chat, '3')), ['3']);
  // The branch that was chosen last leads back to its variant.
  assert.deepEqual(places(chooseTurn(chooseTurn(chat, '3'), '4')), [['4', '3,4']]);
});

test('the children of a removed turn take its place, and it comes back', () => {
  const chat = add(add(add(newChat('c'), '1', ''), '2', '1'), '3', '2');
  const shorter = toggleTurn(chat, '2');
  assert.deepEqual(ids(shorter), ['1', '3']);
  assert.deepEqual(ids(add(shorter, '4', '3')), ['1', '3', '4']);
  assert.deepEqual(ids(toggleTurn(shorter, '2')), ['1', '2', '3']);
  assert.deepEqual(ids(toggleTurn(add(chat, '5', '1', '2'), '5')), ['1', '2', '3']);
});

test('removed text is not stored, and a copy that still has it can bring it back', () => {
  const chat = add(add(newChat('c'), '1', ''), '2', '1');
  const stored = withoutRemoved(toggleTurn(chat, '1'));
  assert.ok(!JSON.stringify(stored).includes('answer 1'));
  const restored = toggleTurn(toggleTurn(chat, '1'), '1');
  assert.deepEqual(ids(mergeChats(stored, restored)), ['1', '2']);
  assert.equal(pathOf(mergeChats(stored, restored))[0]!.turn.answers[0]!.text, 'answer 1');
  const gone = withoutRemoved({ ...writeText(chat, 'title', 'secret'), removals: 1 });
  assert.deepEqual(gone, { ...newChat('c'), removals: 1 });
  assert.ok(
    isRemoved(mergeChats(gone, add(chat, '3', '2'))),
    'a tab cannot undo a removal by saving',
  );
});

test('answers that no tab is writing any more have stopped, and their text stays', () => {
  const answers = [done('half', 'running'), done('whole')];
  const chat = addTurn(newChat('c'), { id: '1', parent: '', prompt: 'p', answers });
  const shown = withoutRunning(chat);
  const states = (one: Chat) => one.turns[0]!.answers.map(({ text, state }) => [text, state]);
  assert.deepEqual(states(shown), [
    ['half', 'stopped'],
    ['whole', 'done'],
  ]);
  // The tab that still writes it has more, or the same text and the end.
  const ended = { ...chat.turns[0]!, answers: [done('half'), done('whole')] };
  assert.equal(states(mergeChats(shown, { ...chat, turns: [ended] }))[0]![1], 'done');
});

test('the title is typed, else the first prompt, else the draft', () => {
  const chat = writeText(newChat('c'), 'draft', 'not sent');
  assert.equal(titleOf(newChat('c')), '');
  assert.equal(titleOf(chat), 'not sent');
  assert.equal(titleOf(add(chat, '1', '', 'one\n two')), 'one two');
  assert.equal(titleOf(writeText(add(chat, '1', ''), 'title', 'Mine')), 'Mine');
  assert.equal(titleOf(add(chat, '1', '', 'x'.repeat(500))).length, 80);
});

test('a search finds titles, prompts and answers on every branch, without removed ones', () => {
  const chat = add(add(newChat('c'), '1', '', 'Lyon'), '2', '', 'Oslo');
  for (const text of ['lyon', 'OSLO', 'answer 1']) assert.ok(contains(chat, text), text);
  assert.ok(!contains(toggleTurn(chat, '1'), 'Lyon'));
  assert.ok(!contains(chat, 'model'));
});

test('ids sort by the time of their creation', () => {
  const created = Array.from({ length: 50 }, createId);
  assert.deepEqual([...created].sort(), created);
  assert.equal(new Set(created).size, 50);
});

/** A change that a tab makes: [kind, which turn, a length]. */
const changes = fc.array(fc.tuple(fc.nat(5), fc.nat(20), fc.nat(9)), { maxLength: 12 });

function change(chat: Chat, [kind, which, length]: [number, number, number], tab: string): Chat {
  const turn = chat.turns[which % Math.max(chat.turns.length, 1)];
  if (kind <= 1 || !turn) {
    const id = `${String(chat.turns.length).padStart(3, '0')}${tab}`;
    if (chat.turns.some((one) => one.id === id)) return chat;
    return add(chat, id, kind === 0 ? (turn?.id ?? '') : '', `prompt ${length % 3}`);
  }
  if (kind === 2) return chooseTurn(chat, turn.id);
  if (kind === 3) return toggleTurn(chat, turn.id);
  if (kind === 4) return writeText(chat, 'title', `${tab}${length}`);
  const answers = turn.answers.map((one) => done(one.text + 'x'.repeat(length)));
  return { ...chat, turns: chat.turns.map((one) => (one === turn ? { ...turn, answers } : one)) };
}

const tabs = fc.tuple(changes, changes, changes, changes).map(([before, ...own]) => {
  const start = before.reduce((chat, one) => change(chat, one, '-'), newChat('c'));
  return own.map((list, i) => list.reduce((chat, one) => change(chat, one, 'abc'[i]!), start));
});

/** The path by its definition: no table, one turn at a time. */
function plainPath(chat: Chat): string[] {
  const shown: string[] = [];
  const place = (id: string): string => {
    const parent = chat.turns.find((one) => one.id === chat.turns.find((t) => t.id === id)!.parent);
    return !parent ? '' : isRemoved(parent) ? place(parent.id) : parent.id;
  };
  while (true) {
    const here = chat.turns.filter(
      (turn) => !isRemoved(turn) && place(turn.id) === (shown.at(-1) ?? ''),
    );
    if (here.length === 0) return shown;
    const newest = Math.max(...here.map(({ chosenAt }) => chosenAt));
    shown.push(here.findLast(({ chosenAt }) => chosenAt === newest)!.id);
  }
}

test('merges of copies do not depend on their order, change nothing twice, and lose no text', () => {
  fc.assert(
    fc.property(tabs, ([a, b, c]) => {
      const merged = mergeChats(mergeChats(a!, b!), c!);
      assert.deepEqual(merged, mergeChats(a!, mergeChats(b!, c!)));
      assert.deepEqual(merged, mergeChats(c!, mergeChats(b!, a!)));
      assert.deepEqual(merged, mergeChats(merged, a!));
      for (const turn of [a!, b!, c!].flatMap(({ turns }) => turns)) {
        const kept = merged.turns.find(({ id }) => id === turn.id)!;
        assert.equal(kept.prompt, turn.prompt);
        assert.ok(kept.answers[0]!.text.length >= turn.answers[0]!.text.length);
      }
      assert.deepEqual(ids(merged), plainPath(merged));
      assert.deepEqual(ids(a!), plainPath(a!));
    }),
    { numRuns: 200 },
  );
});
