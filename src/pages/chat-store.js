// Chats in the browser's IndexedDB, apart for each tenant. localStorage would hold 5 MB in all, and could not change a record
// while other tabs wait: here a save reads, merges and writes in one transaction, so tabs do not overwrite each other, and a
// save that fails changes nothing. Never stores a key.
import {
  contains,
  isRemoved,
  mergeChats,
  titleOf,
  withoutRemoved,
  withoutRunning,
} from './chat-tree.js';

/** @typedef {import('./chat-tree.js').Chat} Chat */
/** @typedef {import('./chat-tree.js').Summary} Summary */

/** Servers below different paths of one host share the browser's storage. */
const SERVER = new URL('.', document.baseURI).pathname;
const UNSAVED = 'lorikeet.unsaved ';

/** The chats of one tenant. */
export class ChatStore {
  #database;
  #tenant;
  #channel;

  /** @param {IDBDatabase} database @param {string} tenant */
  constructor(database, tenant) {
    this.#database = database;
    this.#tenant = tenant;
    this.#channel = new BroadcastChannel(JSON.stringify([SERVER, tenant]));
  }

  /**
   * Opens a tenant's chats. Saves what a closing tab could not save any more.
   * @param {string} tenant
   * @returns {Promise<ChatStore>}
   * @throws {DOMException} if the browser refuses storage
   */
  static async open(tenant) {
    const opening = indexedDB.open(`lorikeet ${SERVER}`, 1);
    opening.addEventListener('upgradeneeded', () => {
      for (const name of ['chats', 'summaries']) opening.result.createObjectStore(name);
    });
    const store = new ChatStore(await toPromise(opening), tenant);
    await store.#saveKept();
    return store;
  }

  /** Calls a listener after another tab has changed a chat. @param {(id: string) => void} listener */
  listen(listener) {
    this.#channel.addEventListener('message', ({ data }) => listener(data));
  }

  /** Returns all chats, the newest first. @returns {Promise<Summary[]>} */
  async list() {
    const summaries = this.#database.transaction('summaries').objectStore('summaries');
    /** @type {Summary[]} */
    const all = await toPromise(summaries.getAll(this.#range()));
    return all.sort((a, b) => b.updatedAt - a.updatedAt);
  }

  /** Returns the ids of the chats that contain a text. Reads one chat at a time. @param {string} text */
  async search(text) {
    /** @type {Set<string>} */
    const found = new Set();
    await this.#each((chat) => {
      if (contains(chat, text)) found.add(chat.id);
    });
    return found;
  }

  /** Returns all chats with their content. */
  async loadAll() {
    /** @type {Chat[]} */
    const chats = [];
    await this.#each((chat) => chats.push(withoutRunning(chat)));
    return chats;
  }

  /** Returns a chat; undefined if there is none. @param {string} id @returns {Promise<Chat | undefined>} */
  async load(id) {
    const chats = this.#database.transaction('chats').objectStore('chats');
    /** @type {Chat | undefined} */
    const chat = await toPromise(chats.get([this.#tenant, id]));
    return chat && withoutRunning(chat);
  }

  /**
   * Saves a chat, merged with what other tabs have saved.
   * @param {Chat} mine
   * @param {{ isRestored?: boolean }} [options] isRestored: the user wants a chat back that may have been removed
   * @returns {Promise<Chat>} the merged chat
   * @throws {DOMException} if it is not saved, such as for lack of room
   */
  async save(mine, { isRestored = false } = {}) {
    const key = [this.#tenant, mine.id];
    const transaction = this.#database.transaction(['chats', 'summaries'], 'readwrite');
    const saving = completion(transaction);
    const chats = transaction.objectStore('chats');
    /** @type {Chat | undefined} */
    const stored = await toPromise(chats.get(key)).catch(() => undefined); // then the transaction fails
    let merged = stored ? mergeChats(mine, stored) : mine;
    if (isRestored && isRemoved(merged)) merged = { ...merged, removals: merged.removals + 1 };
    const chat = withoutRemoved(merged);
    const title = titleOf(chat);
    try {
      if (title === '' && !isRemoved(chat)) chats.delete(key);
      else chats.put(chat, key);
      const summaries = transaction.objectStore('summaries');
      if (title === '') summaries.delete(key);
      else summaries.put({ id: chat.id, title, updatedAt: chat.updatedAt }, key);
    } catch (error) {
      saving.catch(() => {});
      throw error;
    }
    await saving;
    this.#channel.postMessage(chat.id);
    return merged;
  }

  /** Removes every chat. */
  async clear() {
    for (const chat of await this.loadAll()) {
      await this.save({ ...chat, removals: chat.removals + 1 });
    }
  }

  /** Keeps a chat while the page closes, when no transaction would end any more. The next page saves it. @param {Chat} chat */
  keep(chat) {
    try {
      const name = UNSAVED + JSON.stringify([SERVER, this.#tenant, chat.id]);
      localStorage.setItem(name, JSON.stringify(chat));
    } catch {
      // It is larger than localStorage. The last save is less than a second old.
    }
  }

  async #saveKept() {
    const prefix = UNSAVED + JSON.stringify([SERVER, this.#tenant]).slice(0, -1);
    for (const name of Object.keys(localStorage).filter((one) => one.startsWith(`${prefix},`))) {
      const saving = this.save(JSON.parse(localStorage.getItem(name) ?? ''));
      // Without room it waits for the next page.
      await saving.then(() => localStorage.removeItem(name)).catch(() => {});
    }
  }

  /** @param {(chat: Chat) => void} visit */
  #each(visit) {
    const cursors = this.#database
      .transaction('chats')
      .objectStore('chats')
      .openCursor(this.#range());
    return new Promise((resolve, reject) => {
      cursors.addEventListener('error', () => reject(cursors.error));
      cursors.addEventListener('success', () => {
        const cursor = cursors.result;
        if (!cursor) return resolve(undefined);
        if (!isRemoved(cursor.value)) visit(cursor.value);
        cursor.continue();
      });
    });
  }

  /** The keys [tenant, id]. An array sorts after every string. */
  #range() {
    return IDBKeyRange.bound([this.#tenant], [this.#tenant, []]);
  }
}

/** @template T @param {IDBRequest<T>} request @returns {Promise<T>} */
function toPromise(request) {
  return new Promise((resolve, reject) => {
    request.addEventListener('success', () => resolve(request.result));
    request.addEventListener('error', () => reject(request.error));
  });
}

/** @param {IDBTransaction} transaction @returns {Promise<void>} */
function completion(transaction) {
  return new Promise((resolve, reject) => {
    transaction.addEventListener('complete', () => resolve());
    transaction.addEventListener('abort', () => reject(transaction.error));
  });
}
