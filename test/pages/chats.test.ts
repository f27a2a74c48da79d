// The list of chats, with a storage whose answers come late.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { withResolvers } from '../../src/common/waiting.ts';
import type { ChatStore } from '../../src/pages/playground/chat-store.ts';
import type { Summary } from '../../src/pages/playground/chat-tree.ts';
import { Chats } from '../../src/pages/playground/chats.ts';
import { eventGlobals } from './browser-globals.ts';

eventGlobals();

test('an answer that comes after a newer one is dropped', async () => {
  const reads = [1, 2].map(() => withResolvers<Summary[]>());
  const waiting = reads.values();
  const store = { listen() {}, list: () => waiting.next().value!.promise };
  const chats = new Chats({} as ConstructorParameters<typeof Chats>[0]);
  chats.attach(store as unknown as ChatStore);
  const chat = { id: 'a', title: 'old', updatedAt: 1 };
  const newer = chats.refresh();
  reads[1]!.resolve([{ ...chat, title: 'renamed' }]);
  await newer;
  reads[0]!.resolve([chat]);
  await reads[0]!.promise;
  await null;
  await null;
  assert.deepEqual(chats.shown.value, [{ ...chat, title: 'renamed' }]);
});
