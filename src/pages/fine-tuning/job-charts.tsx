// The curves of a job's page: which ones a job has, by its method, and how its metrics are drawn.
import { useMemo } from 'preact/hooks';
import type { FineTuningJob } from '../../contracts/fine-tuning-api.ts';
import type { PageMetric } from '../../contracts/metrics.ts';
import { type Line, LineChart } from '../components/line-chart.tsx';
import { Panel } from '../components/parts.tsx';
import { METRICS } from '../tables.ts';
import { type Metrics, pointsOf } from './events.ts';
import {
  accuracyName,
  formatOf,
  formattedMetric,
  isFinished,
  learnsPairs,
  learnsRewards,
} from './facts.ts';

const VALIDATED = { color: '--second', isDashed: true, isSparse: true };
/** How a metric is drawn, if unlike the first line. */
const STYLES: { readonly [Name in PageMetric['name']]?: Partial<Line> } = {
  full_valid_loss: VALIDATED,
  full_valid_mean_token_accuracy: VALIDATED,
  full_valid_mean_reward: VALIDATED,
  'rewards/rejected': { color: '--second' },
  'rewards/margins': { color: '--ink', isDashed: true },
};

interface Curves {
  readonly id: PageMetric['curve'];
  readonly title: string;
  /** The metric in the text alternative. */
  readonly main: PageMetric['name'];
}

/** Returns the curves of a job. */
function curvesOf(job: FineTuningJob): Curves[] {
  if (learnsRewards(job)) {
    return [
      { id: 'reward', title: 'Mean reward', main: 'train_mean_reward' },
      { id: 'length', title: 'Length of completions', main: 'completion_tokens_mean' },
    ];
  }
  const curves: Curves[] = [
    { id: 'loss', title: 'Loss', main: 'train_loss' },
    { id: 'accuracy', title: accuracyName(job), main: 'train_mean_token_accuracy' },
    { id: 'rewards', title: 'Rewards', main: 'rewards/margins' },
  ];
  return learnsPairs(job) ? curves : curves.slice(0, -1);
}

interface JobChartsProps {
  readonly job: FineTuningJob;
  readonly steps: readonly Metrics[];
}

/** The charts of a job. One that ended before its first step has none. */
export function JobCharts({ job, steps }: JobChartsProps) {
  if (steps.length === 0 && isFinished(job)) return null;
  return (
    <div id="curves">
      {curvesOf(job).map((curves) => (
        <CurvesPanel key={curves.id} steps={steps} {...curves} />
      ))}
    </div>
  );
}

function CurvesPanel({ id, title, main, steps }: Curves & Pick<JobChartsProps, 'steps'>) {
  const metrics = METRICS.filter(({ curve }) => curve === id);
  const options = useMemo(() => {
    const lines = metrics.map(({ name, label }) => ({ label, color: '--accent', ...STYLES[name] }));
    const isShare = metrics[0]?.unit === 'share';
    return { name: `${title} by step`, lines, isShare, format: formatOf(metrics[0]) };
  }, [id]);
  const names = metrics.map(({ name }) => name);
  const points = useMemo(() => pointsOf(steps, names), [steps]);
  const last = steps.at(-1);
  const shown = metrics.find(({ name }) => name === main)!;
  return (
    <Panel id={id} title={title}>
      <div id={`${id}-chart`}>
        {last ? (
          <LineChart
            options={options}
            points={points}
            summary={`step ${last.step}, ${shown.label.toLowerCase()} ${formattedMetric(last, shown)}`}
          />
        ) : (
          <p class="chart empty">The curve begins with the first step.</p>
        )}
      </div>
    </Panel>
  );
}
