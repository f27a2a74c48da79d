// A list of the API, newest first, that is read page by page. Touches no element.

/** @template Item @typedef {{ readonly data: Item[], readonly has_more: boolean }} Page */

/** The items that were read so far. @template {{ readonly id: string }} Item */
export class PageList {
  /** Newest first. @type {Item[]} */
  items = [];
  /** Whether there are older items. */
  hasMore = false;
  #readPage;
  /** The page that is being read. @type {Promise<void> | undefined} */
  #reading;

  /** @param {(after: string | undefined) => Promise<Page<Item>>} readPage reads the page after an item, or the newest one */
  constructor(readPage) {
    this.#readPage = readPage;
  }

  /** Reads the newest page again. */
  async refresh() {
    const page = await this.#readPage(undefined);
    const last = page.data.at(-1)?.id;
    const at = this.items.findIndex(({ id }) => id === last);
    const older = at < 0 ? [] : this.items.slice(at + 1);
    if (older.length === 0) this.hasMore = page.has_more;
    this.items = [...page.data, ...older];
  }

  /** Reads the next page, if there is one. Callers at the same time share the read, so that each page is added once. */
  readMore() {
    this.#reading ??= this.#addPage().finally(() => {
      this.#reading = undefined;
    });
    return this.#reading;
  }

  async #addPage() {
    const last = this.items.at(-1)?.id;
    if (last === undefined || !this.hasMore) return;
    const page = await this.#readPage(last);
    if (this.items.at(-1)?.id !== last) return; // a refresh or a removal came first
    this.items = [...this.items, ...page.data];
    this.hasMore = page.has_more;
  }

  /** Removes an item that no longer exists. @param {string} id */
  remove(id) {
    this.items = this.items.filter((item) => item.id !== id);
  }
}
