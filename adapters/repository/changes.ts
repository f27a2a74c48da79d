// Announces changes of names to all servers, so that none has to poll each name. A change writes an intent before and a mark
// after it: two empty objects whose keys say everything. One list shows what has changed, however many names there are. An
// intent without a mark means that the change is under way, or that its writer died and may have made it.
import { randomUUID } from 'node:crypto';
import { mapBounded } from '../../src/common/map-bounded.ts';
import { systemClock } from '../../src/common/waiting.ts';
import { TENANT_PATTERN } from '../../src/contracts/tenant.ts';
import type { DocumentStore } from '../store/documents.ts';
import type { StoreCall } from '../store/store.ts';
import { type AdapterName, NAME_PATTERN } from './manifest.ts';

/** No tenant begins with a dot. */
const FOLDER = '.changes/';
/** An intent covers writes that begin within this time. Readers watch it three times as long. */
const INTENT_MS = 20_000;
/** `..` occurs neither in tenants nor in names, and no name begins with a dot. */
const KEY_PATTERN = /^([0-9a-f]{16})\.(begun|done)\.(.+)\.\.([A-Za-z0-9_].*)$/;

/** An announced change. */
export interface Announcement extends AdapterName {
  /** The intent and the mark of one change share it. */
  readonly id: string;
  readonly isDone: boolean;
}

/** An announcement in a list. */
export interface ListedAnnouncement extends Announcement {
  /** When it was written, by the store's clock. */
  readonly modifiedMs: number;
}

/** Announces one change. A failure to announce is logged and does not fail the change. */
export interface ChangeNotice {
  /** Call before each write that others shall see. */
  intend(call?: StoreCall): Promise<void>;
  /** Call after the last write. Does nothing if nothing was intended. */
  done(call?: StoreCall): Promise<void>;
}

/** The announcements in a store. */
export class ChangeLog {
  readonly #documents: DocumentStore;

  constructor(documents: DocumentStore) {
    this.#documents = documents;
  }

  /** Begins to announce a change of a name. Writes nothing yet. */
  begin(of: AdapterName): ChangeNotice {
    const { clock = systemClock } = this.#documents;
    let intended: { readonly id: string; readonly atMs: number } | undefined;
    return {
      intend: async (call) => {
        if (intended && clock.now() - intended.atMs < INTENT_MS) return;
        const id = randomUUID().replaceAll('-', '').slice(0, 16);
        await this.#put({ ...of, id, isDone: false }, call);
        intended = { id, atMs: clock.now() };
      },
      done: async (call) => {
        if (intended) await this.#put({ ...of, id: intended.id, isDone: true }, call);
      },
    };
  }

  async #put(announcement: Announcement, call: StoreCall = {}): Promise<void> {
    const { store, log } = this.#documents;
    try {
      await store.put(keyOf(announcement), new Uint8Array(), call);
    } catch (err) {
      call.signal?.throwIfAborted();
      const { tenant, name } = announcement;
      log?.warn({ err, tenant, name }, 'a change was not announced, so servers see it late');
    }
  }

  /** Lists the announcements that have not been removed. */
  async list(call?: StoreCall): Promise<ListedAnnouncement[]> {
    const found: ListedAnnouncement[] = [];
    for await (const entry of this.#documents.store.list(FOLDER, call)) {
      const announcement = parseKey(entry.key.slice(FOLDER.length));
      if (announcement && entry.kind === 'object') {
        found.push({ ...announcement, modifiedMs: entry.modifiedMs });
      }
    }
    return found;
  }

  /** Removes announcements. */
  async remove(announcements: readonly Announcement[], call?: StoreCall): Promise<void> {
    await mapBounded(announcements, (one) => this.#documents.store.delete(keyOf(one), call));
  }
}

function keyOf({ id, isDone, tenant, name }: Announcement): string {
  return `${FOLDER}${id}.${isDone ? 'done' : 'begun'}.${tenant}..${name}`;
}

function parseKey(text: string): Announcement | undefined {
  const [, id, state, tenant, name] = KEY_PATTERN.exec(text) ?? [];
  if (!id || !tenant || !name) return undefined;
  if (!TENANT_PATTERN.test(tenant) || !NAME_PATTERN.test(name)) return undefined;
  return { id, isDone: state === 'done', tenant, name };
}
