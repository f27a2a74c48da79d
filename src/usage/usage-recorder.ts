// Counts what this server's tenants use, and writes the sums of each day to the store. The object of a day and server has only
// one writer, so it needs no condition. A server that is killed loses what it has counted since the last write.
import { type UsageArchive, utcDay } from './usage-archive.ts';
import { type UsageRow, UsageTable } from './usage-table.ts';

/** Where usage is written. */
interface UsageRecorderOptions {
  readonly archive: Pick<UsageArchive, 'write'>;
  /** A name that no other process has, of hexadecimal digits. */
  readonly server: string;
  /** Returns Unix milliseconds. */
  readonly now: () => number;
}

interface CountedDay {
  readonly table: UsageTable;
  hasNews: boolean;
}

/** Counts usage. */
export class UsageRecorder {
  readonly #options: UsageRecorderOptions;
  readonly #days = new Map<string, CountedDay>();
  #writing: Promise<void> = Promise.resolve();

  constructor(options: UsageRecorderOptions) {
    this.#options = options;
  }

  /** Counts a request that has ended now. */
  add(row: Omit<UsageRow, 'requests'>): void {
    const name = utcDay(this.#options.now());
    const day = this.#days.get(name) ?? { table: new UsageTable(), hasNews: false };
    this.#days.set(name, day);
    day.table.add({ ...row, requests: 1 });
    day.hasNews = true;
  }

  /** Writes what was counted since the last write. Rejects with the store's error; the next call tries again. */
  flush(): Promise<void> {
    const write = () => this.#write();
    this.#writing = this.#writing.then(write, write);
    return this.#writing;
  }

  async #write(): Promise<void> {
    const { archive, server, now } = this.#options;
    for (const [name, day] of this.#days) {
      if (day.hasNews) {
        day.hasNews = false;
        try {
          await archive.write(name, server, day.table);
        } catch (error) {
          day.hasNews = true;
          throw error;
        }
      }
      if (name !== utcDay(now()) && !day.hasNews) this.#days.delete(name);
    }
  }
}
