// The results of a job next to those of its base, and the gates of its evaluation.
import type { GateVerdict } from '../../contracts/evaluation-card.ts';
import type { FineTuningJob } from '../../contracts/fine-tuning-api.ts';
import { Panel, Tile } from '../components/parts.tsx';
import { figure } from '../format.ts';
import type { Metrics } from './events.ts';
import { evaluationOf, learnsRewards } from './facts.ts';
import { resultsOf } from './results.ts';

interface ResultProps {
  readonly job: FineTuningJob;
  readonly steps: readonly Metrics[];
}

/** The figures of a job. */
export function JobResult({ job, steps }: ResultProps) {
  return (
    <section id="outcome" aria-label="Result">
      <dl class="tiles">
        {resultsOf(job, steps, Date.now() / 1000).map(({ base, isBetter = false, ...result }) =>
          base === undefined ? (
            <Tile key={result.name} {...result} />
          ) : (
            <div key={result.name}>
              <dt>{result.name}</dt>
              <dd class="versus">
                <span>
                  <strong>{base}</strong>
                  <small>base</small>
                </span>
                <span aria-hidden="true" class="arrow">
                  →
                </span>
                <span class={isBetter ? 'better' : ''}>
                  <strong>{result.value}</strong>
                  <small>adapter</small>
                </span>
              </dd>
              <dd class="help">{result.help}</dd>
            </div>
          ),
        )}
      </dl>
    </section>
  );
}

const GATES: Readonly<Record<string, string>> = {
  finite: 'All weights are finite',
  weights: 'No weight is too large',
  applied: 'The adapter changes the base’s output',
  validation: 'The adapter beats the base on the validation file',
  generation: 'The adapter generates answers',
  forgetting: 'The adapter keeps what the base knew',
};
const RELATIONS = { '<=': 'at most', '<': 'below', '>': 'above' };

/** The gates of a job's evaluation; nothing before it. */
export function Gates({ job }: Pick<ResultProps, 'job'>) {
  const { gates, skipped = [] } = evaluationOf(job);
  if (!gates) return null;
  const lines = [
    ...gates.map((one) => ({
      gate: one.gate,
      verdict: one.passed ? 'Passed' : 'Failed',
      detail: gateDetail(job, one),
    })),
    ...skipped.map(({ gate, reason }) => ({ gate, verdict: 'Skipped', detail: reason })),
  ];
  return (
    <Panel id="card" title="Evaluation">
      <ul class="gates" id="gates">
        {lines.map(({ gate, verdict, detail }) => (
          <li key={gate} class={verdict.toLowerCase()}>
            <strong>{verdict}</strong> {GATES[gate] ?? gate} <span class="help">{detail}</span>
          </li>
        ))}
      </ul>
    </Panel>
  );
}

function gateDetail(job: FineTuningJob, { gate, value, limit, relation }: GateVerdict): string {
  // The loss of a job that learns from rewards is the negative reward.
  if (learnsRewards(job) && gate === 'validation')
    return `reward ${figure(-value)} (must be above ${figure(-limit)})`;
  if (limit === 0 && value === 0) return ''; // counts of faults
  return `${figure(value)} (must be ${RELATIONS[relation]} ${figure(limit)})`;
}
