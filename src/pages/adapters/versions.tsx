// The versions of an adapter: when they were made, their evaluation, download, release and removal. Checkpoints are folded away.
import type { Adapter } from '../../contracts/management-api.ts';
import { downloadFile } from '../browser.ts';
import { ActionButton } from '../components/action-button.tsx';
import { Panel } from '../components/parts.tsx';
import { TryLink } from '../components/try-link.tsx';
import { counted, dateAndTime, size } from '../format.ts';
import { type AdapterProps, aliasPath } from '../store/adapter.ts';
import { aliasesTo, checkpointStep, evaluationText, isMadeByJob, type Version } from './facts.ts';

const FILES = ['adapter_config.json', 'adapter_model.safetensors'];

interface VersionsProps extends AdapterProps {
  /** Opens the dialog that releases a version. */
  readonly release: (version: number) => void;
}

/** The list, newest first. */
export function Versions(props: VersionsProps) {
  const isCheckpoint = (one: Version) => checkpointStep(props.adapter, one) !== undefined;
  const list = (versions: readonly Version[]) => (
    <ul class="items">
      {versions.map((one) => (
        <VersionRow key={one.version} {...props} version={one} />
      ))}
    </ul>
  );
  const checkpoints = props.adapter.versions.filter(isCheckpoint);
  const others = props.adapter.versions.filter((one) => !isCheckpoint(one));
  return (
    <Panel id="versions" title={counted(others.length, 'version')}>
      {list(others)}
      {checkpoints.length > 0 && (
        <details class="more" id="checkpoints">
          <summary>{counted(checkpoints.length, 'checkpoint')}</summary>
          {list(checkpoints)}
        </details>
      )}
    </Panel>
  );
}

function VersionRow({
  adapter,
  store,
  release,
  version,
}: VersionsProps & { readonly version: Version }) {
  const name = `${adapter.name}@${version.version}`;
  const { bytes, rank, created_at: createdS, job, targets, digest } = version;
  const step = checkpointStep(adapter, version);
  const aliases = aliasesTo(adapter, version);
  const released = aliases.filter((one) => !isMadeByJob(one));
  const facts = [
    dateAndTime(createdS),
    size(bytes),
    `rank ${rank}`,
    counted(targets.length, 'target module'),
    evaluationText(version),
  ];
  /** Deletes it with the aliases that its job created. */
  const remove = () =>
    store.change(
      ...aliases.map(({ alias }) => ({ path: aliasPath(alias), method: 'DELETE' as const })),
      { path: `/versions/${version.version}`, method: 'DELETE' },
    );
  return (
    <li>
      <div>
        <strong>Version {version.version}</strong>{' '}
        {released.map(({ alias }) => (
          <span key={alias} class="pill running">
            {alias}
          </span>
        ))}
        {step !== undefined && <span class="pill">step {step}</span>}
        <p class="help">{facts.filter(Boolean).join(' · ')}</p>
        <p class="help">
          <code>{digest.slice(0, 12)}</code> {job && <a href={`fine-tuning#${job}`}>Job</a>}
        </p>
      </div>
      <div class="row">
        {version.base !== 'other' && <TryLink class="button small" model={name} />}
        <ActionButton
          label="Download"
          target={name}
          act={() => download(adapter, version).catch(store.fail)}
        />
        {adapter.is_writable && (
          <>
            <ActionButton label="Release…" target={name} act={() => release(version.version)} />
            <ActionButton
              label="Delete"
              target={name}
              act={remove}
              question={{
                title: `Delete ${name}?`,
                text: 'Running requests finish. If a job created this version, its ft: name is also deleted.',
                action: 'Delete version',
              }}
              hindrance={
                released.length > 0
                  ? 'An alias leads to this version. Release another one first.'
                  : undefined
              }
            />
          </>
        )}
      </div>
    </li>
  );
}

async function download({ name, owner }: Adapter, { version }: Version) {
  const path = `v1/adapters/${encodeURIComponent(name)}/versions/${version}/files`;
  for (const file of FILES) await downloadFile(`${path}/${file}?owner=${owner}`, file);
}
