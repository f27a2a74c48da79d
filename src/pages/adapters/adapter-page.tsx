// The page of an adapter: its purpose and facts, its release, its versions, its training, who uses it, and a form to try it.
import { useEffect, useState } from 'preact/hooks';
import { ActionButton } from '../components/action-button.tsx';
import { CopyButton } from '../components/copy-button.tsx';
import { Pairs } from '../components/pairs.tsx';
import { Problem } from '../components/problem.tsx';
import { Title } from '../components/title.tsx';
import { TryLink } from '../components/try-link.tsx';
import { counted } from '../format.ts';
import type { AdapterProps } from '../store/adapter.ts';
import { AboutForm } from './about-form.tsx';
import { currentVersion, factsOf, KINDS, kindOf, latestOf, modelNameOf } from './facts.ts';
import { Origin, UnreleasedNote } from './origin.tsx';
import { ReleaseDialog } from './release-dialog.tsx';
import { Releases } from './releases.tsx';
import { TryForm } from './try-form.tsx';
import { Users } from './users.tsx';
import { Versions } from './versions.tsx';

/** The name of the served base. */
type WithBase<Props> = Props & { readonly base: string };

/** An adapter's page. */
export function AdapterPage({ store, base }: WithBase<Pick<AdapterProps, 'store'>>) {
  useEffect(() => store.watch(), [store]);
  const adapter = store.adapter.value;
  return (
    <>
      <div class="head adapter-head">
        <p class="back">
          <a href="#all">All adapters</a>
        </p>
        {adapter ? (
          <Head adapter={adapter} store={store} base={base} />
        ) : (
          <Title id="name" name={store.name} />
        )}
      </div>
      {store.isMissing.value && <p class="empty">There is no adapter {store.name}.</p>}
      <Problem id="problem" text={store.problem.value} />
      {adapter && <Parts adapter={adapter} store={store} base={base} />}
    </>
  );
}

function Parts({ adapter, store, base }: WithBase<AdapterProps>) {
  const [released, setReleased] = useState<number>();
  const { description, tags } = adapter.about;
  const kind = kindOf(adapter);
  const current = currentVersion(adapter);
  const isUsable = current !== undefined && current.base !== 'other';
  return (
    <>
      <section class="panel" id="facts" aria-label="Facts">
        <p class={description ? 'lead' : 'help'}>{description || 'No description.'}</p>
        <Tags tags={tags} />
        <Pairs entries={factsOf(adapter, base, Date.now() / 1000)} />
        {adapter.is_writable && <AboutForm adapter={adapter} store={store} />}
      </section>
      {!latestOf(adapter) && <UnreleasedNote adapter={adapter} />}
      <Releases
        adapter={adapter}
        store={store}
        release={() => setReleased(adapter.versions[0]?.version)}
      />
      {isUsable && kind !== 'chat' && (
        <TryForm
          model={modelNameOf(adapter)}
          base={kind === 'embedding' ? base : undefined}
          examples={adapter.about.examples}
        />
      )}
      <Versions adapter={adapter} store={store} release={setReleased} />
      <Origin adapter={adapter} />
      <Users name={adapter.name} />
      <ReleaseDialog
        adapter={adapter}
        store={store}
        version={released}
        onClose={() => setReleased(undefined)}
      />
    </>
  );
}

function Head({ adapter, store, base }: WithBase<AdapterProps>) {
  const { name, owner, versions, aliases, is_writable: isWritable } = adapter;
  const isReleased = latestOf(adapter) !== undefined;
  const isOfOther = currentVersion(adapter)?.base === 'other';
  const remove = async () => {
    await store.change({ path: '', method: 'DELETE' });
    if (store.isMissing.value) location.hash = 'all';
  };
  return (
    <>
      <Title id="name" name={name}>
        {name} <span class="pill">{KINDS[kindOf(adapter)]}</span>{' '}
        {!isWritable && <span class="pill">{owner}, read only</span>}{' '}
        {isOfOther && <span class="pill paused">for another base</span>}{' '}
        <span class={`pill ${isReleased ? 'succeeded' : 'paused'}`}>
          {isReleased ? 'released' : 'not released'}
        </span>
      </Title>
      <div class="row">
        {isReleased && <CopyButton read={() => name} what={name} text="Copy name" />}
        {isReleased && !isOfOther && kindOf(adapter) === 'chat' && (
          <TryLink class="button small" model={name} beside={base} />
        )}
        {isWritable && (
          <ActionButton
            label="Delete"
            target={name}
            act={remove}
            question={{
              title: `Delete ${name}?`,
              text: `This deletes ${counted(versions.length, 'version')} and ${counted(aliases.length, 'alias', 'aliases')}. Requests for this model will fail with 404.`,
              action: 'Delete adapter',
            }}
          />
        )}
      </div>
    </>
  );
}

/** The tags of an adapter. */
export function Tags({ tags }: { readonly tags: readonly string[] }) {
  return (
    <p class="tags" hidden={tags.length === 0}>
      {tags.map((tag) => (
        <span key={tag} class="pill">
          {tag}
        </span>
      ))}
    </p>
  );
}
