// The adapters page: a table of all, and a page for each by the address's fragment.
import { render } from 'preact';
import { useEffect } from 'preact/hooks';
import { byId, showLoaded } from '../browser.ts';
import { AdapterPage } from './adapter-page.tsx';
import './adapters.css';
import { Overview } from './overview.tsx';
import { createAdaptersStore } from './store.ts';

const store = createAdaptersStore();

function AdaptersPage() {
  const opened = store.opened.value;
  const isLoaded = store.isReady.value && (!opened || opened.isRead.value);
  useEffect(() => {
    if (isLoaded) showLoaded();
  }, [isLoaded]);
  return opened ? (
    <AdapterPage key={location.hash} store={opened} base={store.base.value} />
  ) : (
    <Overview store={store} />
  );
}

render(<AdaptersPage />, byId('main'));
