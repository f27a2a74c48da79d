// What a server keeps for its tenants, in a store in memory.
import { guardStore } from '../../adapters/store/guarded-store.ts';
import { createMemoryStore } from '../../adapters/store/memory.ts';
import { createLog } from '../../src/common/log.ts';
import { Conversations } from '../../src/conversations/conversations.ts';
import { KeptResponses } from '../../src/conversations/kept-responses.ts';

export function keeping({ now = Date.now, keepMs = 3_600_000 } = {}) {
  const store = guardStore(createMemoryStore(), createLog('silent'));
  const options = { store, keepMs, maxBytes: 2 ** 30, now };
  return {
    keptResponses: new KeptResponses(options),
    conversations: new Conversations(options),
  };
}
