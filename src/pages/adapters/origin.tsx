// The origin of an adapter: the job or the training loop of its current version, with its data and settings.
import { useEffect, useState } from 'preact/hooks';
import type { FileObject, FineTuningJob } from '../../contracts/fine-tuning-api.ts';
import type { Adapter } from '../../contracts/management-api.ts';
import { requestJson } from '../api.ts';
import { Pairs } from '../components/pairs.tsx';
import { Panel } from '../components/parts.tsx';
import { statusWord } from '../fine-tuning/facts.ts';
import { settingsOf } from '../fine-tuning/settings.ts';
import { currentVersion, isRun } from './facts.ts';

/** Reads something once; null if it is gone, undefined until it was read. */
function useAnswer<T>(path: string | undefined): T | null | undefined {
  const [value, setValue] = useState<T | null>();
  useEffect(() => {
    if (path !== undefined)
      void requestJson<T>(path, { isQuiet: true }).then(setValue, () => setValue(null));
  }, [path]);
  return value;
}

function jobPath(id: string | undefined | null): string | undefined {
  return id == null || isRun(id) ? undefined : `v1/fine_tuning/jobs/${id}`;
}

/** The data and the settings of the job. */
export function Origin({ adapter }: { readonly adapter: Adapter }) {
  const id = currentVersion(adapter)?.job;
  const job = useAnswer<FineTuningJob>(jobPath(id));
  if (id == null) return null;
  const what = isRun(id) ? 'The training loop, with its curve' : 'The job, with its curves';
  return (
    <Panel id="training" title="Origin">
      {job && (
        <Pairs
          entries={[
            ['Training file', <FileName id={job.training_file} />],
            ['Validation file', job.validation_file && <FileName id={job.validation_file} />],
            ...settingsOf(job),
          ]}
        />
      )}
      {job === null && <p class="help">The job has been deleted.</p>}
      <p>
        <a href={`fine-tuning#${id}`}>{what}</a>
      </p>
    </Panel>
  );
}

function FileName({ id }: { readonly id: string }) {
  const file = useAnswer<FileObject>(`v1/files/${id}`);
  return <>{file === null ? 'deleted' : file?.filename}</>;
}

/** Says why the name alone is not a model, and what to do. */
export function UnreleasedNote({ adapter: { versions } }: { readonly adapter: Adapter }) {
  const id = versions[0]?.job;
  const job = useAnswer<FineTuningJob>(jobPath(id));
  const link = (text: string) => <a href={`fine-tuning#${id}`}>{text}</a>;
  const outcome = job?.error ? `failed: ${job.error.message}` : job && `is ${statusWord(job)}`;
  return (
    <p class="warning">
      {id != null && isRun(id) && <>Made by a {link('training loop')}. </>}
      {id != null && !isRun(id) && (
        <>
          Its {link('job')} {outcome ?? 'has not succeeded'}.{' '}
        </>
      )}
      No version is released, so requests for the name alone get 404. Try a version, or release one.
    </p>
  );
}
