// The API docs: how to reach the API, and its operations by group, with a search over their fields.
import { render } from 'preact';
import { useEffect } from 'preact/hooks';
import { byId, showLoaded } from '../browser.ts';
import { SERVER } from '../components/code-tabs.tsx';
import { CopyButton } from '../components/copy-button.tsx';
import { Pairs } from '../components/pairs.tsx';
import { Panel } from '../components/parts.tsx';
import { SearchField } from '../components/search-field.tsx';
import './docs.css';
import { type ApiDocument, needsKey } from './document.ts';
import { Method, OperationPanel } from './operation.tsx';
import { createDocsStore, type DocsStore } from './store.ts';

function DocsPage({ store }: { store: DocsStore }) {
  const { data, problem, isRead } = store.document;
  const read = data.value;
  useEffect(() => {
    if (isRead.value) showLoaded();
  }, [isRead.value]);
  return (
    <>
      <div class="head">
        <h1 id="title">API</h1>
        <SearchField
          id="search"
          label="Search operations and fields"
          placeholder="Paths and fields"
          value={store.search}
          onInput={(text) => {
            store.search.value = text;
          }}
        />
      </div>
      <p class="lead" id="api-help" role="status">
        {read ? read.info.description : problem.value || 'Loading …'}
      </p>
      {read && (
        <div class="docs">
          <Contents store={store} />
          <div>
            {store.search.value === '' && <Start document={read} />}
            <Operations store={store} />
          </div>
        </div>
      )}
    </>
  );
}

/** The operations that the search found, as links. */
function Contents({ store }: { store: DocsStore }) {
  const isWide = matchMedia('(min-width: 60rem)').matches;
  return (
    <details class="contents" open={isWide}>
      <summary>Contents</summary>
      <nav aria-label="Operations">
        {store.found.value.map(({ name, operations }) => (
          <details key={name} open>
            <summary>{name}</summary>
            <ul>
              {operations.map(({ operation: { id, method, path } }) => (
                <li key={id}>
                  <a href={`docs#${id}`} onClick={() => store.goTo(id)}>
                    <Method name={method} />
                    {path}
                  </a>
                </li>
              ))}
            </ul>
          </details>
        ))}
      </nav>
    </details>
  );
}

/** How to reach the API. */
function Start({ document }: { document: ApiDocument }) {
  const url = `${SERVER}/v1`;
  return (
    <Panel id="start" title="Base URL and authorization">
      <Pairs
        entries={[
          [
            'Base URL',
            <>
              <code>{url}</code> <CopyButton read={() => url} what="the base URL" />
              <p class="help">
                OpenAI’s clients take it as it is, Anthropic’s without <code>/v1</code>. The paths
                below begin after <code>{SERVER}</code>.
              </p>
            </>,
          ],
          ['Authorization', needsKey(document) ? <KeyHelp /> : 'This server needs no key.'],
        ]}
      />
    </Panel>
  );
}

function KeyHelp() {
  return (
    <>
      <code>Authorization: Bearer KEY</code> or <code>x-api-key: KEY</code>
      <p class="help">
        <code>lorikeet keys create --tenant NAME</code> creates a key. The examples read it from{' '}
        <code>OPENAI_API_KEY</code>, Anthropic’s client from <code>ANTHROPIC_API_KEY</code>. Send
        uses the one you signed in with.
      </p>
    </>
  );
}

function Operations({ store }: { store: DocsStore }) {
  const groups = store.found.value;
  return (
    <>
      <p class="empty" role="status" id="none">
        {groups.length === 0 &&
          `No operation and no field contains “${store.search.value.trim()}”.`}
      </p>
      <div id="api" class="api">
        {groups.map(({ name, description, operations }) => (
          <section key={name} aria-label={name}>
            <h2>{name}</h2>
            <p class="help group-help">{description}</p>
            {operations.map((found) => (
              <OperationPanel key={found.operation.id} found={found} store={store} />
            ))}
          </section>
        ))}
      </div>
    </>
  );
}

const store = createDocsStore();
const goToTarget = () => store.goTo(location.hash.slice(1));
addEventListener('hashchange', goToTarget);
goToTarget();
render(<DocsPage store={store} />, byId('main'));
