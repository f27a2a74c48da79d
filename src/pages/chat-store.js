// Chats in the browser's IndexedDB, apart for each tenant. localStorage would hold 5 MB in all. The last save of a chat wins;
// if another tab has saved the chat since it was read, the save keeps the turns of both. Never stores a key.
import { contains, joinTurns, titleOf, toChat } from './chat-tree.js';

/** @typedef {import('./chat-tree.js').Chat} Chat */
/** @typedef {import('./chat-tree.js').Summary} Summary */
/** Another tab's change. @typedef {{ id: string, isRemoved: boolean }} Change */

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

  /** Calls a listener after another tab has changed a chat. @param {(change: Change) => void} listener */
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

  /** Returns the ids of the chats that contain a text. @param {string} text */
  async search(text) {
    const chats = await this.loadAll();
    return new Set(chats.filter((chat) => contains(chat, text)).map(({ id }) => id));
  }

  /** Returns all chats with their content. */
  async loadAll() {
    const chats = this.#database.transaction('chats').objectStore('chats');
    const stored = await toPromise(chats.getAll(this.#range()));
    return stored.flatMap((chat) => toChat(chat) ?? []);
  }

  /** Returns a chat; undefined if there is none. @param {string} id */
  async load(id) {
    const chats = this.#database.transaction('chats').objectStore('chats');
    return toStoredChat(await toPromise(chats.get([this.#tenant, id])));
  }

  /**
   * Saves a chat, with the turns of other tabs if they have saved it since `mine` was read.
   * @param {Chat} mine
   * @returns {Promise<Chat>} the stored chat; it has the turns of `mine` unless others were added
   * @throws {DOMException} if it is not saved, such as for lack of room
   */
  async save(mine) {
    const key = [this.#tenant, mine.id];
    const { chats, summaries, committed } = this.#begin();
    // If reading fails, so does the transaction.
    const stored = toStoredChat(await toPromise(chats.get(key)).catch(() => undefined));
    const revision = stored?.revision ?? 0;
    const turns = stored && revision !== mine.revision ? joinTurns(mine, stored) : mine.turns;
    const chat = { ...mine, turns, revision: revision + 1 };
    const title = titleOf(chat);
    if (title === '') for (const store of [chats, summaries]) store.delete(key);
    else {
      chats.put(chat, key);
      summaries.put({ id: chat.id, title, updatedAt: chat.updatedAt }, key);
    }
    await committed;
    this.#channel.postMessage({ id: chat.id, isRemoved: false });
    return chat;
  }

  /** Removes a chat. @param {string} id */
  async remove(id) {
    const { chats, summaries, committed } = this.#begin();
    for (const store of [chats, summaries]) store.delete([this.#tenant, id]);
    await committed;
    localStorage.removeItem(this.#keptName(id));
    this.#channel.postMessage({ id, isRemoved: true });
  }

  /** Keeps a chat while the page closes, when no transaction would end any more. The next page saves it. @param {Chat} chat */
  keep(chat) {
    try {
      localStorage.setItem(this.#keptName(chat.id), JSON.stringify(chat));
    } catch {
      // It is larger than localStorage. The last save is less than a second old.
    }
  }

  async #saveKept() {
    const prefix = UNSAVED + JSON.stringify([SERVER, this.#tenant]).slice(0, -1);
    for (const name of Object.keys(localStorage).filter((one) => one.startsWith(`${prefix},`))) {
      // Without room it waits for the next page.
      await this.#saveKeptItem(name).catch(() => {});
    }
  }

  /** Adds only the turns if the chat was saved since. If it was removed since, it stays so. @param {string} name */
  async #saveKeptItem(name) {
    const kept = toChat(JSON.parse(localStorage.getItem(name) ?? 'null'));
    const stored = kept && (await this.load(kept.id));
    if (kept && stored && stored.revision !== kept.revision) {
      await this.save({ ...stored, turns: joinTurns(stored, kept) });
    } else if (kept && (stored || kept.revision === 0)) await this.save(kept);
    localStorage.removeItem(name);
  }

  /** @param {string} id */
  #keptName(id) {
    return UNSAVED + JSON.stringify([SERVER, this.#tenant, id]);
  }

  #begin() {
    const transaction = this.#database.transaction(['chats', 'summaries'], 'readwrite');
    const committed = completion(transaction);
    committed.catch(() => {}); // the caller may fail before it waits
    const [chats, summaries] = [
      transaction.objectStore('chats'),
      transaction.objectStore('summaries'),
    ];
    return { chats, summaries, committed };
  }

  /** The keys [tenant, id]. An array sorts after every string. */
  #range() {
    return IDBKeyRange.bound([this.#tenant], [this.#tenant, []]);
  }
}

/** @param {unknown} stored undefined: there is none */
function toStoredChat(stored) {
  return stored === undefined ? undefined : toChat(stored);
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
