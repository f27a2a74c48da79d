// A list of the API, newest first, that is read page by page.
import { computed } from '@preact/signals';
import { errorText, requestJson } from '../api.ts';
import { type Query, query } from './query.ts';

interface Page<Item> {
  readonly data: readonly Item[];
  readonly has_more: boolean;
}

/** Makes a list of a path, such as `v1/files?limit=20`. Nothing is read yet. */
export function pagedQuery<Item extends { readonly id: string }>(
  path: string,
  read: (path: string) => Promise<Page<Item>> = (one) => requestJson<Page<Item>>(one),
) {
  /** The pages that were read so far, as one. A refresh reads the newest again, while older ones may be added. */
  const list: Query<Page<Item>> = query(async () => {
    const page = await read(path);
    const known = list.data.value?.data ?? [];
    const at = known.findIndex(({ id }) => id === page.data.at(-1)?.id);
    const older = at < 0 ? [] : known.slice(at + 1);
    return older.length === 0 ? page : { ...list.data.value!, data: [...page.data, ...older] };
  });
  let reading: Promise<boolean> | undefined;

  async function addPage() {
    const last = list.data.value?.data.at(-1)?.id;
    if (last === undefined || !list.data.value!.has_more) return false;
    try {
      const page = await read(`${path}${path.includes('?') ? '&' : '?'}after=${last}`);
      const { data } = list.data.value ?? { data: [] };
      if (data.at(-1)?.id !== last) return true; // a refresh or a removal came first
      list.data.value = { ...page, data: [...data, ...page.data] };
      list.problem.value = '';
      return true;
    } catch (error) {
      list.problem.value = errorText(error);
      return false;
    }
  }

  return {
    ...list,
    /** Newest first; undefined until the first page was read. */
    items: computed(() => list.data.value?.data),
    /** Whether there are older items. */
    hasMore: computed(() => list.data.value?.has_more ?? false),
    /** Resolves with whether it read another page. Callers at the same time share the read, so each page is added once. */
    more() {
      reading ??= addPage().finally(() => {
        reading = undefined;
      });
      return reading;
    },
    /** Removes an item that no longer exists. */
    remove(id: string) {
      const { value } = list.data;
      if (value) list.set({ ...value, data: value.data.filter((item) => item.id !== id) });
    },
  };
}
