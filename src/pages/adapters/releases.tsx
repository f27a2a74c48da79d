// The releases of an adapter: which versions the requests of each alias get, and their figures.
import { ActionButton } from '../components/action-button.tsx';
import { Panel } from '../components/parts.tsx';
import { ReleaseSteps, TrafficTable } from '../components/release-panel.tsx';
import { type AdapterProps, aliasPath } from '../store/adapter.ts';
import { type Alias, candidateOf, sharesText } from '../store/release-plan.ts';
import { checkpointStep, isMadeByJob } from './facts.ts';

interface ReleasesProps extends AdapterProps {
  /** Opens the dialog that releases a version. */
  readonly release: () => void;
}

/** The aliases that people move. */
export function Releases(props: ReleasesProps) {
  const { adapter, release } = props;
  const aliases = adapter.aliases.filter((alias) => !isMadeByJob(alias));
  const versions = adapter.versions
    .filter((version) => checkpointStep(adapter, version) === undefined)
    .map(({ version }) => version);
  const led = aliases
    .flatMap(({ leads_to, previous }) => [...leads_to, ...(previous ?? [])])
    .map(({ version }) => version);
  const used = adapter.versions.filter(({ traffic }) => traffic).map(({ version }) => version);
  return (
    <Panel id="releases" title="Releases">
      <ul class="items">
        {aliases.map((alias) => (
          <AliasRow
            key={alias.alias}
            alias={alias}
            version={candidateOf(alias, versions)!}
            {...props}
          />
        ))}
      </ul>
      {adapter.is_writable && (
        <>
          <TrafficTable adapter={adapter} aliases={aliases} versions={[...led, ...used]} />
          <div class="row">
            <button type="button" aria-label={`Release…: ${adapter.name}`} onClick={release}>
              Release…
            </button>
          </div>
        </>
      )}
    </Panel>
  );
}

function AliasRow({
  adapter,
  store,
  alias: { alias, leads_to },
  version,
}: AdapterProps & { readonly alias: Alias; readonly version: number }) {
  const name = `${store.name}:${alias}`;
  return (
    <li>
      <ReleaseSteps store={store} alias={alias} version={version}>
        <code>{alias}</code> → {sharesText(leads_to)}
      </ReleaseSteps>
      {adapter.is_writable && alias !== 'latest' && (
        <ActionButton
          label="Delete alias"
          target={name}
          act={() => store.change({ path: aliasPath(alias), method: 'DELETE' })}
          question={{
            title: `Delete the alias ${alias}?`,
            text: `Its versions stay. Requests for ${name} will fail with 404.`,
            action: 'Delete alias',
          }}
        />
      )}
    </li>
  );
}
