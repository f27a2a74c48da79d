// The samples of a job that learns from rewards: of one step some prompts, with their completions from the best to the worst.
import type { FineTuningJobSamples } from '../../contracts/fine-tuning-api.ts';
import { Panel } from '../components/parts.tsx';
import { count, counted, figure } from '../format.ts';
import { faultText } from './new-job/grader.ts';
import { Example } from './new-job/plan.tsx';
import { type MergedCompletion, mergedCompletions, type SampleStore } from './sample-store.ts';

/** The samples; nothing before the first step. */
export function JobSamples({ store }: { readonly store: SampleStore }) {
  const samples = store.shown.value;
  if (!samples) return null;
  return (
    <Panel id="samples-section" title="Samples">
      <Stepper store={store} step={samples.step} />
      <div id="samples">
        {samples.prompts.map((prompt, i) => (
          <Prompt key={i} prompt={prompt} index={i} />
        ))}
      </div>
    </Panel>
  );
}

function Stepper({ store, step }: { readonly store: SampleStore; readonly step: number }) {
  const newest = store.newest.value;
  const of = store.isFollowing.value ? ', the newest' : ` of ${count(newest)}`;
  return (
    <div class="stepper">
      <label for="sample-step" id="sample-label">
        {store.problem.value || `Step ${count(step)}${of}`}
      </label>
      <button
        type="button"
        class="small"
        id="sample-earlier"
        aria-disabled={step <= 1}
        onClick={store.earlier}
      >
        Earlier
      </button>
      <input
        type="range"
        id="sample-step"
        min="1"
        max={Math.max(1, newest)}
        value={step}
        aria-valuetext={`Step ${step}`}
        disabled={newest <= 1}
        onInput={(event) => store.choose(event.currentTarget.valueAsNumber)}
      />
      <button
        type="button"
        class="small"
        id="sample-later"
        aria-disabled={step >= newest}
        onClick={store.later}
      >
        Later
      </button>
    </div>
  );
}

interface PromptProps {
  readonly prompt: FineTuningJobSamples['prompts'][number];
  readonly index: number;
}

function Prompt({ prompt: { text, completions }, index }: PromptProps) {
  const rewards = completions.map(({ reward }) => reward).sort((a, b) => a - b);
  const mean = rewards.reduce((sum, reward) => sum + reward, 0) / rewards.length;
  return (
    <details class="more" open={index === 0}>
      <summary id={`sample-prompt-${index}`}>
        Prompt {index + 1}: <strong>mean reward {figure(mean)}</strong>
        <span class="help">
          {' '}
          {figure(rewards[0] ?? 0)} to {figure(rewards.at(-1) ?? 0)}
        </span>
      </summary>
      <Example name={`Prompt ${index + 1}`}>{text}</Example>
      <ol class="samples">
        {mergedCompletions(completions).map((sample, i) => (
          <Sample key={i} {...sample} />
        ))}
      </ol>
    </details>
  );
}

function Sample({ completion, times }: MergedCompletion) {
  const { text, tokens, finish, reward, parts, error } = completion;
  const scores = Object.entries(parts);
  const facts = [
    ...(scores.length > 1 ? scores.map(([name, score]) => `${name} ${figure(score)}`) : []),
    counted(tokens, 'token') + (finish === 'length' ? ', cut off' : ''),
    ...(times > 1 ? [`${times} times`] : []),
  ];
  return (
    <li>
      <strong>{figure(reward)}</strong>
      <div>
        <Example name={`Reward ${figure(reward)}`}>{text || ' '}</Example>
        <span class="help">{facts.join(' · ')}</span>
        {error !== undefined && <span class="problem">{faultText(error)}</span>}
      </div>
    </li>
  );
}
