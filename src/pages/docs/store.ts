// The state of the API docs: the server's document, the search and the open operations.
import { computed, signal } from '@preact/signals';
import { requestJson } from '../api.ts';
import { query } from '../store/query.ts';
import { type ApiDocument, groupsOf, type Operation } from './document.ts';
import { createForm, type OperationForm } from './form.ts';
import { searchGroups } from './search.ts';

/** Everything that the page shows. */
export type DocsStore = ReturnType<typeof createDocsStore>;

/** Starts to read the document. */
export function createDocsStore() {
  const document = query(() => requestJson<ApiDocument>('openapi.json'));
  void document.refresh();
  const search = signal('');
  const opened = signal<ReadonlySet<string>>(new Set());
  /** The operation that the address names. */
  const target = signal('');
  const schemas = computed(() => document.data.value?.components.schemas ?? {});
  const groups = computed(() => (document.data.value ? groupsOf(document.data.value) : []));
  /** The groups that the search found. */
  const found = computed(() => searchGroups(groups.value, schemas.value, search.value));
  const forms = new Map<string, OperationForm>();
  const toggle = (id: string, isOpen: boolean) => {
    const next = new Set(opened.value);
    if (isOpen) next.add(id);
    else next.delete(id);
    opened.value = next;
  };
  return {
    ...{ document, schemas, search, found, opened, target },
    /** Opens or closes an operation. */
    toggle,
    /** Opens the operation that the address names. */
    goTo(id: string) {
      target.value = id;
      toggle(id, true);
    },
    /** The form of an operation. It keeps what the user has entered while the operation is closed or not found. */
    formOf(operation: Operation) {
      const { id } = operation;
      const form = forms.get(id) ?? createForm(operation, schemas.value);
      forms.set(id, form);
      return form;
    },
  };
}
