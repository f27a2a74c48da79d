// Chats in the browser's IndexedDB, apart for each tenant. localStorage would hold 5 MB in all. The last save of a chat wins;
// if another tab has saved the chat since it was read, the save keeps the turns of both. Never stores a key.
import { type DBSchema, type IDBPDatabase, openDB } from 'idb';
import { serverPath } from '../key.ts';
import {
  type Chat,
  contains,
  joinTurns,
  type StoredChat,
  type Summary,
  titleOf,
  toChat,
} from './chat-tree.ts';

/** Another tab's change. */
export interface Change {
  readonly id: string;
  readonly isRemoved: boolean;
}

type Key = [tenant: string, id: string];
interface Schema extends DBSchema {
  chats: { key: Key; value: StoredChat };
  summaries: { key: Key; value: Summary };
}

const SERVER = serverPath();
const UNSAVED = 'lorikeet.unsaved ';

/** The chats of one tenant. */
export class ChatStore {
  readonly #database: IDBPDatabase<Schema>;
  readonly #tenant: string;
  readonly #channel: BroadcastChannel;
  /** All keys of the tenant. An array sorts after every string. */
  readonly #range: IDBKeyRange;

  private constructor(database: IDBPDatabase<Schema>, tenant: string) {
    this.#database = database;
    this.#tenant = tenant;
    this.#channel = new BroadcastChannel(JSON.stringify([SERVER, tenant]));
    this.#range = IDBKeyRange.bound([tenant], [tenant, []]);
  }

  /** Opens a tenant's chats. Saves what a closing tab had no time to save. Throws if the browser refuses storage. */
  static async open(tenant: string): Promise<ChatStore> {
    const database = await openDB<Schema>(`lorikeet ${SERVER}`, 1, {
      upgrade(created) {
        for (const name of ['chats', 'summaries'] as const) created.createObjectStore(name);
      },
    });
    const store = new ChatStore(database, tenant);
    await store.#saveKept();
    return store;
  }

  /** Calls a listener after another tab has changed a chat. */
  listen(listener: (change: Change) => void): void {
    this.#channel.addEventListener('message', ({ data }) => listener(data));
  }

  /** Returns all chats, the newest first. */
  async list(): Promise<Summary[]> {
    const all = await this.#database.getAll('summaries', this.#range);
    return all.sort((a, b) => b.updatedAt - a.updatedAt);
  }

  /** Returns the ids of the chats that contain a text. */
  async search(text: string): Promise<Set<string>> {
    const chats = await this.loadAll();
    return new Set(chats.filter((chat) => contains(chat, text)).map(({ id }) => id));
  }

  /** Returns all chats with their content. */
  async loadAll(): Promise<Chat[]> {
    const stored = await this.#database.getAll('chats', this.#range);
    return stored.flatMap((chat) => toChat(chat) ?? []);
  }

  /** Returns a chat; undefined if there is none. */
  async load(id: string): Promise<Chat | undefined> {
    const stored = await this.#database.get('chats', [this.#tenant, id]);
    return stored && toChat(stored);
  }

  /**
   * Saves a chat, with the turns of other tabs if they have saved it since `mine` was read. Returns the stored chat, which has
   * the turns of `mine` unless others were added. Throws if it is not saved, such as for lack of room.
   */
  async save(mine: Chat): Promise<Chat> {
    const key: Key = [this.#tenant, mine.id];
    const { chats, summaries, done } = this.#begin();
    const read = await chats.get(key).catch(() => undefined); // the transaction fails as well
    const stored = read && toChat(read);
    const revision = stored?.revision ?? 0;
    const turns = stored && revision !== mine.revision ? joinTurns(mine, stored) : mine.turns;
    const chat = { ...mine, turns, revision: revision + 1 };
    const title = titleOf(chat);
    const writes =
      title === ''
        ? [chats.delete(key), summaries.delete(key)]
        : [
            chats.put(chat, key),
            summaries.put({ id: chat.id, title, updatedAt: chat.updatedAt }, key),
          ];
    await Promise.all([...writes, done]);
    this.#channel.postMessage({ id: chat.id, isRemoved: false });
    return chat;
  }

  /** Removes a chat. */
  async remove(id: string): Promise<void> {
    const { chats, summaries, done } = this.#begin();
    const key: Key = [this.#tenant, id];
    await Promise.all([chats.delete(key), summaries.delete(key), done]);
    localStorage.removeItem(this.#keptName(id));
    this.#channel.postMessage({ id, isRemoved: true });
  }

  /** Keeps a chat while the page closes, too late for a transaction to finish. The next page saves it. */
  keep(chat: Chat): void {
    try {
      localStorage.setItem(this.#keptName(chat.id), JSON.stringify(chat));
    } catch {
      // It is larger than localStorage. The last save is less than a second old.
    }
  }

  async #saveKept(): Promise<void> {
    const prefix = UNSAVED + JSON.stringify([SERVER, this.#tenant]).slice(0, -1);
    for (const name of Object.keys(localStorage).filter((one) => one.startsWith(`${prefix},`))) {
      // Without room it waits for the next page.
      await this.#saveKeptItem(name).catch(() => {});
    }
  }

  /** Adds only the turns if the chat was saved since. If it was removed since, it stays so. */
  async #saveKeptItem(name: string): Promise<void> {
    const kept = toChat(JSON.parse(localStorage.getItem(name) ?? 'null'));
    const stored = kept && (await this.load(kept.id));
    if (kept && stored && stored.revision !== kept.revision) {
      const draft = kept.draft || stored.draft;
      await this.save({ ...stored, draft, turns: joinTurns(stored, kept) });
    } else if (kept && (stored || kept.revision === 0)) await this.save(kept);
    localStorage.removeItem(name);
  }

  #keptName(id: string): string {
    return UNSAVED + JSON.stringify([SERVER, this.#tenant, id]);
  }

  #begin() {
    const transaction = this.#database.transaction(['chats', 'summaries'], 'readwrite');
    transaction.done.catch(() => {}); // the caller may fail before it waits
    const [chats, summaries] = [
      transaction.objectStore('chats'),
      transaction.objectStore('summaries'),
    ];
    return { chats, summaries, done: transaction.done };
  }
}
