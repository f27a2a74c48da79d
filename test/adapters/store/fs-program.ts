// A second process for fs.test.ts: says that it is there, waits for a word and does one of a few things to a folder.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import path from 'node:path';
import { createFsStore, withKeyLock } from '../../../adapters/store/fs.ts';
import { bytesOf, increment, ofKind } from './conformance.ts';

const [what, folder, ...args] = process.argv.slice(2);
assert(folder);
const store = createFsStore(folder);

async function ready(): Promise<void> {
  process.send?.('ready');
  await once(process, 'message');
}

const DEEDS: Record<string, () => Promise<void>> = {
  async increment() {
    await ready();
    for (let round = 0; round < Number(args[1]); round += 1) await increment(store, args[0]!);
  },
  async claim() {
    await ready();
    let won = 0;
    for (let n = 0; n < Number(args[0]); n += 1) {
      try {
        await store.put(`claims/${n}`, bytesOf('them'), { ifAbsent: true });
        won += 1;
      } catch (error) {
        ofKind('conflict')(error);
      }
    }
    process.send?.(won);
  },
  async hold() {
    const name = createHash('sha256').update(args[0]!).digest('hex');
    await withKeyLock(path.join(folder, '~lorikeet/locks', name), undefined, ready);
  },
  async write() {
    await store.put(args[0]!, { file: args[1]! });
  },
};

await DEEDS[what!]!();
process.disconnect();
