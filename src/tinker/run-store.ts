// The records of training runs as objects of a store: one each, in the folder of its run. Decides nothing about them.
import { ifSound, Records, readDocument } from '../../adapters/store/documents.ts';
import type { GuardedStore, StoreLog } from '../../adapters/store/guarded-store.ts';
import { listFolders, type StoreCall } from '../../adapters/store/store.ts';
import { ServeError } from '../common/errors.ts';
import { mapBounded } from '../common/map-bounded.ts';
import { adapterOfRun } from '../contracts/tinker-path.ts';
import { RUN_KIND, type RunRecord } from './run-record.ts';

const FOLDER = '.tinker';
const MAX_DIGITS = 6;
const RUN_FOLDER = new RegExp(`^tinker-[0-9a-f]{24}-\\d{1,${MAX_DIGITS}}$`);
/** Records that are read at a time: 1 ms of CPU and up to 1 MB each. */
const READS = 16;

/** The records of all tenants' runs. Methods throw the store's errors. */
export class RunStore {
  readonly #store: GuardedStore;
  readonly #log: StoreLog | undefined;
  readonly #records: Records<RunRecord>;

  constructor(store: GuardedStore, log: StoreLog | undefined) {
    this.#store = store;
    this.#log = log;
    this.#records = new Records(store, RUN_KIND);
  }

  async create(run: RunRecord): Promise<void> {
    await this.#records.create(keyOf(run.tenant, adapterOfRun(run.id)!), run);
  }

  /** Reads a run. Throws `ServeError` (404) if the tenant has none with this id. */
  async read(tenant: string, id: string): Promise<RunRecord> {
    const name = adapterOfRun(id);
    const run = name === undefined ? undefined : await this.#records.read(keyOf(tenant, name));
    if (run) return run;
    throw new ServeError('not_found', `Unknown training run ${id.slice(0, 64)}.`);
  }

  /** Changes a run, if there is one. */
  async change(tenant: string, id: string, change: (run: RunRecord) => RunRecord): Promise<void> {
    await this.#records.change(keyOf(tenant, adapterOfRun(id)!), change);
  }

  async delete({ tenant, id }: Pick<RunRecord, 'tenant' | 'id'>): Promise<void> {
    await this.#store.delete(keyOf(tenant, adapterOfRun(id)!));
  }

  /** Lists the names of a tenant's runs, the oldest first. */
  async names(tenant: string, call?: StoreCall): Promise<string[]> {
    const names = await listFolders(this.#store, `${tenant}/${FOLDER}/`, RUN_FOLDER, call);
    return names.sort(compareRuns);
  }

  /** Reads runs in this order, some at a time. Leaves out damaged ones, which are logged. */
  async *readAll(
    tenant: string,
    names: readonly string[],
    call?: StoreCall,
  ): AsyncGenerator<RunRecord> {
    const from = { store: this.#store, log: this.#log };
    for (let start = 0; start < names.length; start += READS) {
      const documents = await mapBounded(names.slice(start, start + READS), (name) =>
        ifSound(readDocument(from, keyOf(tenant, name), RUN_KIND, call)),
      );
      for (const document of documents) if (document) yield document.value;
    }
  }

  /** Reads the runs of all tenants. */
  async *readEveryone(call?: StoreCall): AsyncGenerator<RunRecord> {
    for await (const { kind, key } of this.#store.list('', { ...call, delimiter: '/' })) {
      const tenant = key.slice(0, -1);
      if (kind === 'folder') yield* this.readAll(tenant, await this.names(tenant, call), call);
    }
  }
}

/** Compares the names of runs by age: by session, then by number, which a store sorts as text. */
export function compareRuns(a: string, b: string): number {
  const [first, second] = [a, b].map((name) =>
    name.replace(/\d+$/, (number) => number.padStart(MAX_DIGITS, '0')),
  );
  return first! < second! ? -1 : Number(first! > second!);
}

/** Returns the key of a run's moments, which continue training from a version of its adapter. */
export function momentsKey(tenant: string, id: string, version: number): string {
  return `${tenant}/${FOLDER}/${adapterOfRun(id)}/moments/${version}.safetensors`;
}

function keyOf(tenant: string, name: string): string {
  return `${tenant}/${FOLDER}/${name}/run.json`;
}
