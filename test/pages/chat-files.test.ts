// Chats as files: nothing is lost on the way out and back, and Open WebUI's files are read.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Answer, newAnswer } from '../../src/pages/playground/chat.ts';
import { parseFile, toFile } from '../../src/pages/playground/chat-files.ts';
import {
  addTurn,
  type Chat,
  createChat,
  pathOf,
  titleOf,
} from '../../src/pages/playground/chat-tree.ts';

const done = (model: string, text: string): Answer => ({
  ...newAnswer(model),
  text,
  state: 'done',
});
const add = (chat: Chat, id: string, parent: string, prompt: string, models = ['a']) =>
  addTurn(chat, {
    id,
    parent,
    prompt,
    answers: models.map((model) => done(model, `${model} ${id}`)),
  });

/** Two columns, and a retried answer with a turn after it. */
function chat(): Chat {
  const texts = { title: 'Mine', draft: '', settings: '?model=a&beside=b' };
  let chat = add({ ...createChat('c'), ...texts }, '1', '', 'one', ['a', 'b']);
  chat = add(add(chat, '2', '1', 'two'), '3', '1', 'two');
  return add(chat, '4', '3', 'three');
}

/** The longest ways through a chat: prompt, answer, prompt, answer. */
function conversations({ turns }: Chat): string[] {
  const parents = new Set(turns.map(({ parent }) => parent));
  const texts = (id: string): string[] => {
    const turn = turns.find((one) => one.id === id);
    return turn ? [...texts(turn.parent), turn.prompt, turn.answers[0]!.text] : [];
  };
  return turns.filter(({ id }) => !parents.has(id)).map(({ id }) => texts(id).join(' / '));
}

test("a chat that is exported and imported is the same, from 0.3.0's pages as well", () => {
  const before = { ...chat(), revision: 7 };
  const file = toFile([before]);
  // It joins a stored chat, whatever that one's revision is.
  assert.deepEqual(parseFile(file), [{ ...before, revision: 0 }]);
  const entries = JSON.parse(file);
  for (const name of ['title', 'draft', 'settings'] as const)
    entries[0].lorikeet[name] = { value: before[name], at: 3 };
  assert.deepEqual(parseFile(JSON.stringify(entries)), parseFile(file));
});

test('Open WebUI gets a tree of messages, and from it comes the same conversation', () => {
  const [entry] = JSON.parse(toFile([chat()]));
  const { history, models, title } = entry.chat;
  assert.deepEqual([title, models, history.currentId], ['Mine', ['a'], '4']);
  const all = Object.values<Record<string, never>>(history.messages);
  assert.equal(all.length, 3 + 5); // prompts and answers; the retried answer shares its prompt
  for (const { id, parentId, childrenIds } of all) {
    assert.ok(parentId === null || history.messages[parentId ?? 'none'].childrenIds.includes(id));
    for (const child of (childrenIds ?? []) as string[])
      assert.equal(history.messages[child].parentId, id);
  }
  delete entry.lorikeet;
  const [imported] = parseFile(JSON.stringify([entry]));
  assert.equal(titleOf(imported!), 'Mine');
  const both = ['one / a 1 / two / a 2', 'one / a 1 / two / a 3 / three / a 4'];
  assert.deepEqual(conversations(imported!).sort(), ['one / b 1', ...both].sort());
  const shown = pathOf(imported!).map(({ turn, variants }) => [
    turn.answers[0]!.text,
    variants.length,
  ]);
  assert.deepEqual(shown, [
    ['a 1', 2],
    ['a 3', 2],
    ['a 4', 1],
  ]);
});

test("Open WebUI's own files: parts of a message, a prompt without an answer, system messages", () => {
  const message = (id: string, parentId: string | null, role: string, content: unknown) => ({
    ...{ id, parentId, role, content, childrenIds: [] },
  });
  const messages = {
    s: message('s', null, 'system', 'Be brief.'),
    u: message('u', 's', 'user', [{ type: 'text', text: 'Hello' }]),
    v: message('v', 'u', 'assistant', 'Hi'),
    w: message('w', 'v', 'user', 'Lost?'),
  };
  const file = [{ title: 'T', updated_at: 5, chat: { history: { messages, currentId: 'w' } } }];
  const [imported] = parseFile(JSON.stringify(file));
  assert.equal(imported!.updatedAt, 5000);
  assert.deepEqual(conversations(imported!), ['Hello / Hi / Lost? / ']);
  assert.equal(imported!.turns[1]!.answers[0]!.state, 'stopped');
});

test('a file that is not a list of chats is refused with the reason', () => {
  const own = JSON.parse(toFile([chat()]))[0];
  const ring = structuredClone(own);
  ring.lorikeet.turns[0].parent = '4';
  const orphan = structuredClone(own);
  orphan.lorikeet.turns[0].parent = 'x';
  const untyped = structuredClone(own);
  untyped.lorikeet.turns[0].prompt = { toString: 1 };
  for (const [content, reason] of [
    ['{', /^The file is not JSON: /],
    ['[1]', /^Chat 1 of the file: it must be an object\.$/],
    ['{"messages": []}', /"history" must be an object/],
    [JSON.stringify([own, ring]), /^Chat 2 of the file: "turns" is not a tree\.$/],
    [JSON.stringify(orphan), /"turns" is not a tree/],
    [JSON.stringify(untyped), /"prompt" must be a text/],
  ] as const) {
    assert.throws(() => parseFile(content), { message: reason });
  }
});
