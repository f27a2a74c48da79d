// The table of adapters, and the uploaded files.
import type { FileObject } from '../../contracts/fine-tuning-api.ts';
import type { Adapter } from '../../contracts/management-api.ts';
import type { Model } from '../../contracts/openai.ts';
import { downloadFile } from '../browser.ts';
import { ActionButton } from '../components/action-button.tsx';
import { CopyButton } from '../components/copy-button.tsx';
import { MoreButton } from '../components/more-button.tsx';
import { number, Panel, Table } from '../components/parts.tsx';
import { Problem } from '../components/problem.tsx';
import { SearchField } from '../components/search-field.tsx';
import { Title } from '../components/title.tsx';
import { TryLink } from '../components/try-link.tsx';
import { count, dateAndTime, size } from '../format.ts';
import { sharesText } from '../store/release-plan.ts';
import { Tags } from './adapter-page.tsx';
import {
  currentVersion,
  KINDS,
  kindOf,
  lastUseText,
  latestOf,
  originOf,
  requestsOf,
} from './facts.ts';
import type { AdaptersStore } from './store.ts';

const COLUMNS = [
  'Name',
  number('Versions'),
  'Share of requests',
  number('Requests'),
  'Last used',
  'Origin',
];

/** The page without a fragment. */
export function Overview({ store }: { readonly store: AdaptersStore }) {
  return (
    <>
      <div class="head">
        <Title id="title" name="Adapters" />
        <SearchField
          id="search"
          label="Search by name"
          value={store.search}
          onInput={store.searchFor}
        />
      </div>
      <AdapterTable store={store} />
      <Files store={store} />
    </>
  );
}

function AdapterTable({ store }: { readonly store: AdaptersStore }) {
  const { items, problem, hasMore, more } = store.list.value;
  const text = store.search.value.trim().toLowerCase();
  const folders = store.folders.value.filter(({ id }) => id.toLowerCase().includes(text));
  const adapters = items.value?.toSorted((a, b) => Number(!latestOf(a)) - Number(!latestOf(b)));
  const rows = [
    ...(adapters ?? []).map(adapterRow),
    ...folders.map((model) => folderRow(model, store)),
  ];
  const keys = [...(adapters ?? []), ...folders].map(({ id }) => id);
  const none = text
    ? 'No adapter matches this search.'
    : 'No adapters yet. Train one on the fine-tuning page, or publish one with lorikeet adapters push.';
  const help = adapters ? none : 'Loading …';
  return (
    <section class="panel" id="adapters" aria-label="Adapters">
      <Problem id="problem" text={problem.value} />
      {rows.length > 0 && <Table caption="Adapters" columns={COLUMNS} keys={keys} rows={rows} />}
      <p class="empty" id="adapters-help" role="status" hidden={rows.length > 0 || !!problem.value}>
        {rows.length === 0 && help}
      </p>
      <MoreButton id="more-adapters" hasMore={hasMore.value} more={more} />
    </section>
  );
}

function adapterRow(adapter: Adapter) {
  const latest = latestOf(adapter);
  const origin = originOf(adapter);
  const requests = requestsOf(adapter);
  return [
    <>
      <a href={`#${adapter.id}`}>{adapter.name}</a>{' '}
      {kindOf(adapter) !== 'chat' && <span class="pill">{KINDS[kindOf(adapter)]}</span>}{' '}
      {currentVersion(adapter)?.base === 'other' && (
        <span class="pill paused">for another base</span>
      )}
    </>,
    count(adapter.versions.length),
    latest ? sharesText(latest.leads_to) : <span class="pill paused">not released</span>,
    requests === undefined ? '' : count(requests),
    lastUseText(adapter, Date.now() / 1000),
    origin.href ? <a href={origin.href}>{origin.text}</a> : origin.text,
  ];
}

/** An adapter in the server's folder has no versions and no page. */
function folderRow({ id, description, tags = [] }: Model, { base, requests }: AdaptersStore) {
  const number = requests.value.get(id);
  return [
    <>
      {id}
      <Tags tags={tags} />
      {description && <p class="help">{description}</p>}
      <p class="row">
        <TryLink class="button small" model={id} beside={base.value} />
        <CopyButton read={() => id} what={id} text="Copy name" />
      </p>
    </>,
    '',
    '',
    number === undefined ? '' : count(number),
    '',
    'local folder',
  ];
}

/** The uploaded files; nothing on a server without fine-tuning. */
function Files({ store }: { readonly store: AdaptersStore }) {
  const { items, hasMore, more } = store.files;
  if (!items.value) return null;
  const isEmpty = items.value.length === 0;
  return (
    <Panel id="files-section" title="Uploaded files">
      <div id="files">
        {!isEmpty && (
          <Table
            caption="Uploaded files"
            columns={['File', number('Size'), 'Uploaded', 'Purpose', 'Actions']}
            keys={items.value.map(({ id }) => id)}
            rows={items.value.map((file) => fileRow(file, store))}
          />
        )}
      </div>
      <p class="help" id="files-help" role="status">
        {store.filesText.value || (isEmpty && 'No files. Files for fine-tuning jobs appear here.')}
      </p>
      <MoreButton id="more-files" hasMore={hasMore.value} more={more} />
    </Panel>
  );
}

function fileRow(file: FileObject, store: AdaptersStore) {
  const { id, filename } = file;
  return [
    filename,
    size(file.bytes),
    dateAndTime(file.created_at),
    file.purpose,
    <span class="row">
      <ActionButton
        label="Download"
        target={filename}
        act={() => store.act(() => downloadFile(`v1/files/${id}/content`, filename))}
      />
      <ActionButton
        label="Delete"
        target={filename}
        act={() => store.act(() => store.deleteFile(file))}
        question={{
          title: `Delete ${filename}?`,
          text: `${size(file.bytes)}. Jobs that are training on it continue. Jobs that are still waiting for it fail.`,
          action: 'Delete file',
        }}
      />
    </span>,
  ];
}
