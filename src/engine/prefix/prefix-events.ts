// Records the changes of the prefix cache until they are taken.
import { append } from '../../common/long-arrays.ts';
import type { PrefixEvent } from '../../contracts/engine.ts';
import type { Block } from './block-pool.ts';

/** The changes since the last `take`, in order. Successive blocks of a prompt, and successive removals, become one event. */
export class PrefixEvents {
  readonly #events: PrefixEvent[] = [];

  /** Records a block that is cached now. `parent` is the key of the block before it, `adapter` a digest. */
  stored(
    { key, tokenIds }: Pick<Block, 'key' | 'tokenIds'>,
    { parent, adapter }: { parent: string | undefined; adapter: string | undefined },
  ): void {
    const last = this.#events.at(-1);
    if (last?.type === 'stored' && last.keys.at(-1) === parent && last.adapter === adapter) {
      last.keys.push(key);
      append(last.tokenIds, tokenIds);
    } else {
      this.#events.push({ type: 'stored', keys: [key], parent, tokenIds: [...tokenIds], adapter });
    }
  }

  /** Records a block that is no longer cached. */
  removed(key: string): void {
    const last = this.#events.at(-1);
    if (last?.type === 'removed') last.keys.push(key);
    else this.#events.push({ type: 'removed', keys: [key] });
  }

  take(): PrefixEvent[] {
    return this.#events.splice(0);
  }
}
