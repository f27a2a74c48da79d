// A job's checkpoints, the kept one first, and its downloads.
import { useState } from 'preact/hooks';
import type { FineTuningJob, FineTuningJobCheckpoint } from '../../contracts/fine-tuning-api.ts';
import { errorText } from '../api.ts';
import { downloadFile } from '../browser.ts';
import { number, Panel, Table } from '../components/parts.tsx';
import { TryLink } from '../components/try-link.tsx';
import { count } from '../format.ts';
import { METRICS } from '../tables.ts';
import type { Metrics } from './events.ts';
import { formattedMetric, isFinished, learnsRewards } from './facts.ts';
import { besideOf } from './settings.ts';

interface CheckpointsProps {
  readonly job: FineTuningJob;
  readonly steps: readonly Metrics[];
  /** Newest first. */
  readonly checkpoints: readonly FineTuningJobCheckpoint[];
}

/** The checkpoints and the downloads. */
export function Checkpoints({ job, steps, checkpoints }: CheckpointsProps) {
  const [problem, setProblem] = useState('');
  const curves = learnsRewards(job) ? ['reward'] : ['loss', 'accuracy'];
  const columns = METRICS.filter(({ curve }) => curves.includes(curve));
  const { fine_tuned_model: kept, lorikeet } = job;
  const toRow = (model: string, metrics: Metrics) => [
    <span>
      {metrics.step === undefined ? 'Last' : count(metrics.step)}
      {model === kept && <span class="pill running kept">kept</span>}
    </span>,
    ...columns.map((metric) => formattedMetric(metrics, metric)),
    <TryLink model={model} beside={besideOf(job)} />,
  ];
  const keptMetrics = steps.find(({ step }) => step === lorikeet.kept_step) ?? {};
  const others = checkpoints.filter((one) => one.fine_tuned_model_checkpoint !== kept);
  const rows = [
    ...(kept === null ? [] : [toRow(kept, keptMetrics)]),
    ...others.map((one) =>
      toRow(one.fine_tuned_model_checkpoint, { ...one.metrics, step: one.step_number }),
    ),
  ];
  const none = isFinished(job)
    ? 'The job ended before its first checkpoint.'
    : 'You can try a checkpoint at the end of each epoch.';
  return (
    <Panel id="checkpoints" title="Checkpoints">
      {rows.length > 0 && (
        <div id="results">
          <Table
            caption="Checkpoints"
            columns={['Step', ...columns.map(({ label }) => number(label)), 'Model']}
            rows={rows}
          />
        </div>
      )}
      <p class="help" id="results-help">
        {problem || (rows.length === 0 && none)}
      </p>
      <div class="row" id="downloads">
        {downloadsOf(job).map(({ text, path, name }) => (
          <button
            type="button"
            class="small"
            key={path}
            aria-label={`Download ${text}`}
            onClick={() => downloadFile(path, name).catch((error) => setProblem(errorText(error)))}
          >
            {text}
          </button>
        ))}
      </div>
    </Panel>
  );
}

function downloadsOf({ result_files: files, lorikeet }: FineTuningJob) {
  const { adapter, version } = lorikeet;
  const below = `v1/adapters/${adapter}/versions/${version}/files`;
  const tables = files.map((id) => ({
    text: 'Metrics (CSV)',
    path: `v1/files/${id}/content`,
    name: `${id}.csv`,
  }));
  if (version === undefined) return tables;
  const weights = ['adapter_model.safetensors', 'adapter_config.json'];
  return [...tables, ...weights.map((name) => ({ text: name, path: `${below}/${name}`, name }))];
}
