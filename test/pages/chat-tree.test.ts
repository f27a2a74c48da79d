// A chat as a tree of turns: the chosen path, branches and variants, removal, and copies from several tabs.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createId } from '../../src/pages/ids.ts';
import { type Answer, newAnswer } from '../../src/pages/playground/chat.ts';
import {
  addTurn,
  type Chat,
  chooseTurn,
  contains,
  createChat,
  joinTurns,
  pathOf,
  removeTurn,
  titleOf,
  toChat,
} from '../../src/pages/playground/chat-tree.ts';

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
  let chat = add(add(createChat(), '1', ''), '2', '1');
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
  const chat = add(add(add(createChat(), '1', ''), '2', '1'), '3', '2');
  const shorter = removeTurn(chat, '2');
  assert.deepEqual(ids(shorter), ['1', '3']);
  const longer = add(shorter, '4', '3');
  assert.deepEqual(ids(longer), ['1', '3', '4']);
  assert.deepEqual(ids({ ...longer, turns: joinTurns(chat, longer) }), ['1', '2', '3', '4']);
  assert.deepEqual(ids(removeTurn(add(chat, '5', '1', '2'), '5')), ['1', '2', '3']);
});

test('copies of two tabs join without a loss: turns of both, and the answer that got further', () => {
  const start = add(createChat(), '1', '');
  const [ours, theirs] = [add(start, '2', '1'), add(start, '3', '1')];
  const joined = { ...ours, turns: joinTurns(ours, theirs) };
  assert.deepEqual(places(joined), [
    ['1', '1'],
    ['3', '2,3'],
  ]);
  const reply = (text: string, state: Answer['state'] = 'done') => ({
    ...addTurn(createChat(), { id: '1', parent: '', prompt: 'p', answers: [done(text, state)] }),
  });
  for (const [less, more] of [
    [reply('half', 'stopped'), reply('a half and more', 'running')],
    [reply('whole', 'stopped'), reply('whole')],
  ] as const) {
    assert.deepEqual(joinTurns(less, more), more.turns);
    assert.deepEqual(joinTurns(more, less), more.turns);
  }
});

test('answers that no tab is writing any more have stopped, and their text stays', () => {
  const answers = [done('half', 'running'), done('whole')];
  const chat = addTurn(createChat(), { id: '1', parent: '', prompt: 'p', answers });
  assert.deepEqual(
    toChat(chat)!.turns[0]!.answers.map(({ text, state }) => [text, state]),
    [
      ['half', 'stopped'],
      ['whole', 'done'],
    ],
  );
});

test("a chat of 0.3.0's pages is read, without what was removed", () => {
  const turn = (id: string, parent: string, removals: number) => {
    const answers = removals === 1 ? [] : [done(id)];
    return { id, parent, prompt: id, answers, chosenAt: Number(id), removals };
  };
  const stored = {
    ...{ id: 'c', updatedAt: 5, removals: 2 },
    title: { value: 'Mine', at: 4 },
    draft: { value: 'not sent', at: 5 },
    settings: { value: '?model=a', at: 6 },
    turns: [turn('1', '', 0), turn('2', '1', 1), turn('3', '2', 2)],
  };
  const chat = toChat(stored)!;
  assert.deepEqual(ids(chat), ['1', '3']);
  const { title, draft, settings, updatedAt } = chat;
  assert.deepEqual([title, draft, settings, updatedAt], ['Mine', 'not sent', '?model=a', 5]);
  assert.deepEqual(toChat(chat), chat, "today's form");
  assert.equal(toChat({ ...stored, removals: 1 }), undefined);
});

test('the title is typed, else the first prompt, else the draft', () => {
  const chat = { ...createChat(), draft: 'not sent' };
  assert.equal(titleOf(createChat()), '');
  assert.equal(titleOf(chat), 'not sent');
  assert.equal(titleOf(add(chat, '1', '', 'one\n two')), 'one two');
  assert.equal(titleOf({ ...add(chat, '1', ''), title: 'Mine' }), 'Mine');
  assert.equal(titleOf(add(chat, '1', '', 'x'.repeat(500))).length, 80);
});

test('a search finds titles, prompts and answers on every branch, without removed ones', () => {
  const chat = add(add(createChat(), '1', '', 'Lyon'), '2', '', 'Oslo');
  for (const text of ['lyon', 'OSLO', 'answer 1']) assert.ok(contains(chat, text), text);
  assert.ok(!contains(removeTurn(chat, '1'), 'Lyon'));
  assert.ok(!contains(chat, 'model'));
});

test('ids sort by the time of their creation', () => {
  const created = Array.from({ length: 50 }, createId);
  assert.deepEqual([...created].sort(), created);
  assert.equal(new Set(created).size, 50);
});
