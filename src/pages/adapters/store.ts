// The state of the adapters page: the list by name, the adapter whose page is open, and the uploaded files.
import { signal } from '@preact/signals';
import type { FileObject } from '../../contracts/fine-tuning-api.ts';
import type { Adapter, MetricsStatus } from '../../contracts/management-api.ts';
import type { Model, ModelList } from '../../contracts/openai.ts';
import { errorText, request, requestJson } from '../api.ts';
import { type AdapterStore, createAdapter } from '../store/adapter.ts';
import { pagedQuery } from '../store/pages.ts';

const PAGE_SIZE = 20;
const TYPING_MS = 300;

/** Everything that the page shows. */
export type AdaptersStore = ReturnType<typeof createAdaptersStore>;

/** Reads the lists, and follows the address. */
export function createAdaptersStore() {
  const opened = signal<AdapterStore>();
  const search = signal('');
  const list = signal(listOf(''));
  const folders = signal<readonly Model[]>([]);
  const base = signal('base');
  const requests = signal<ReadonlyMap<string, number>>(new Map());
  const filesText = signal('');
  const isReady = signal(false);
  const files = pagedQuery<FileObject>(`v1/files?limit=${PAGE_SIZE}`, (path) =>
    requestJson(path, { isQuiet: true }),
  );
  let typing: ReturnType<typeof setTimeout> | undefined;

  /** The list stays until the next one was read. */
  async function find(text: string) {
    const next = listOf(text);
    await next.refresh();
    if (search.value === text) list.value = next;
  }

  async function readModels() {
    const { data } = await requestJson<ModelList>('v1/models');
    folders.value = data.filter(isFolder);
    base.value = data.find(({ parent }) => parent === undefined)?.id ?? base.value;
  }

  async function readRequests() {
    const { usage } = await requestJson<MetricsStatus>('metrics/status', { isQuiet: true });
    requests.value = new Map(usage.map((one) => [one.model, one.requests]));
  }

  async function follow() {
    const path = location.hash.slice(1) || 'all';
    const [name = '', owner] = path.split('/').reverse();
    const known = list.value.items.value?.find(({ id }) => id === path);
    opened.value = path === 'all' ? undefined : createAdapter(name, owner, known);
    if (path === 'all') await find(search.value); // an adapter may have changed on its page
  }
  addEventListener('hashchange', () => void follow());
  // The page can do without the others. All appear together, so that nothing moves.
  const readOthers = () => [readModels, readRequests, files.refresh].map((read) => read());
  const start = async () => {
    await Promise.allSettled([follow(), ...readOthers()]);
    isReady.value = true;
  };
  addEventListener('signin', () => void Promise.allSettled(readOthers()));
  void start();

  return {
    /** The adapter whose page is open, by the address's fragment; undefined: the list. */
    opened,
    /** The text in the search field. */
    search,
    /** The adapters that the search finds. */
    list,
    /** Adapters in the server's local folder. */
    folders,
    /** The name of the served base. */
    base,
    /** Requests by name, which only an admin key sees for folders. */
    requests,
    files,
    /** Whether everything was read once. */
    isReady,
    /** The outcome of the last action on a file; empty at first. */
    filesText,
    searchFor(text: string) {
      search.value = text;
      clearTimeout(typing);
      typing = setTimeout(() => void find(text), TYPING_MS);
    },
    async deleteFile({ id, filename }: FileObject) {
      await request(`v1/files/${id}`, { method: 'DELETE' });
      files.remove(id);
      filesText.value = `Deleted ${filename}.`;
    },
    /** Does something with a file, and says why it failed. */
    async act(action: () => Promise<void>) {
      filesText.value = '';
      await action().catch((error) => {
        filesText.value = errorText(error);
      });
    },
  };
}

function listOf(search: string) {
  const query = new URLSearchParams({ limit: String(PAGE_SIZE), search: search.trim() });
  return pagedQuery<Adapter>(`v1/adapters?${query}`);
}

/** Whether a model is an adapter in a local folder: the root of a published one contains a version. */
function isFolder({ id, parent, root }: Model): boolean {
  return parent !== undefined && !root?.includes('@') && !id.startsWith('ft:');
}
