// The model of a job, the proof that it helps, and its release. The proof is a table of held-out rows with the answers of base and adapter
// side by side, graded.
import { useEffect, useState } from 'preact/hooks';
import type { FineTuningJob } from '../../contracts/fine-tuning-api.ts';
import { CopyButton } from '../components/copy-button.tsx';
import { Panel, Table } from '../components/parts.tsx';
import { Problem } from '../components/problem.tsx';
import { ReleasePanel } from '../components/release-panel.tsx';
import { TryLink } from '../components/try-link.tsx';
import { count, figure, percent } from '../format.ts';
import { learnsRewards } from './facts.ts';
import type { Question } from './held-out.ts';
import { type Answer, createProofStore, type ProofStore } from './proof-store.ts';
import { besideOf } from './settings.ts';

interface ProofProps {
  readonly job: FineTuningJob;
  readonly store: ProofStore;
}

/** The model of a job that has succeeded, its proof and its release. */
export function Outcome({ job }: { readonly job: FineTuningJob }) {
  const [store] = useState(() => createProofStore(job));
  useEffect(() => store.stop, []);
  return (
    <>
      <ModelLine job={job} store={store} />
      <Proof job={job} store={store} />
      {job.lorikeet.version !== undefined && (
        <Panel id="release" title="Release">
          <ReleasePanel name={job.lorikeet.adapter} version={job.lorikeet.version} />
        </Panel>
      )}
    </>
  );
}

/** The model's name. The playground opens with a held-out prompt. */
function ModelLine({ job, store }: ProofProps) {
  const [first] = store.rows.value ?? [];
  return (
    <div class="head panel model-line">
      <div>
        <span class="help">Model</span>
        <code>{store.adapter}</code>
        <p class="help">
          The newest version is also called <code>{job.lorikeet.adapter}</code>
        </p>
      </div>
      <div class="row">
        <CopyButton read={() => store.adapter} what="the model name" />
        <TryQuestion job={job} store={store} question={first?.question} class="button primary" />
      </div>
    </div>
  );
}

interface TryQuestionProps extends ProofProps {
  readonly question: Question | undefined;
  readonly class?: string;
}

/** Opens a question in the playground, with the system prompt that the adapter was trained with. */
function TryQuestion({ job, store, question, class: className }: TryQuestionProps) {
  const { system = '', prompt = '' } = question ?? {};
  const filled = { ...(system && { system }), ...(prompt && { prompt }) };
  return <TryLink class={className} model={store.adapter} beside={besideOf(job)} filled={filled} />;
}

function Proof({ job, store }: ProofProps) {
  const rows = store.rows.value ?? [];
  const hasExpected = rows.some(({ question }) => question.expected !== undefined);
  const expected = hasExpected ? ['Expected'] : [];
  const names = store.models.map((model) => (model === store.adapter ? 'Adapter' : 'Base'));
  return (
    <Panel id="proof" title="Proof on held-out rows">
      <Problem text={store.problem.value} />
      <div class="head">
        <p id="proof-help" role="status">
          {store.rows.value && proofText(store, learnsRewards(job))}
        </p>
        {rows.length > 0 && (
          <button
            type="button"
            id="proof-run"
            aria-disabled={store.isRunning.value}
            onClick={store.run}
          >
            Compare the answers
          </button>
        )}
      </div>
      {rows.length > 0 && (
        <Table
          caption="Answers to held-out rows"
          columns={['Prompt', ...expected, ...names, 'Playground']}
          rows={rows.map(({ question, answers }) => [
            <p class="answer-cell">{question.prompt}</p>,
            ...expected.map(() => <p class="answer-cell">{question.expected}</p>),
            ...store.models.map((model) => <AnswerCell answer={answers[model]} job={job} />),
            <TryQuestion job={job} store={store} question={question} />,
          ])}
        />
      )}
    </Panel>
  );
}

/** Says what was proven so far. */
function proofText(store: ProofStore, isRewarded: boolean): string {
  const { models, adapter, rows, isRunning } = store;
  const all = rows.value ?? [];
  if (all.length === 0 && store.holdsOut) {
    return 'The rows that this job held out cannot be shown as questions.';
  }
  if (all.length === 0) {
    return 'This job held out no rows. Repeat it with a part of the file held out to see what the adapter has learned.';
  }
  const done = all.filter(({ answers }) => Object.keys(answers).length === models.length);
  if (isRunning.value) return `Answered ${count(done.length)} of ${count(all.length)} …`;
  if (done.length === 0) {
    return 'The job held these rows out. Let its base and its adapter answer them.';
  }
  const scores = models.map((model) => {
    const grades = all.flatMap(({ answers }) => answers[model]?.grade ?? []);
    const mean = grades.reduce((sum, grade) => sum + grade, 0) / Math.max(1, grades.length);
    const right = grades.filter((grade) => grade === 1).length;
    const score = isRewarded
      ? `mean reward ${figure(mean)}`
      : `${count(right)} of ${count(all.length)} right`;
    return `${model === adapter ? 'Adapter' : 'Base'}: ${score}.`;
  });
  return scores.join(' ');
}

interface AnswerCellProps {
  readonly answer: Answer | undefined;
  readonly job: FineTuningJob;
}

function AnswerCell({ answer, job }: AnswerCellProps) {
  if (!answer) return null;
  const { text, grade, problem } = answer;
  return (
    <>
      <p class="answer-cell">{text}</p>
      {grade !== undefined && (
        <span class={grade === 1 ? 'pill succeeded' : 'pill'}>
          {learnsRewards(job) ? `reward ${figure(grade)}` : gradeText(grade)}
        </span>
      )}
      {problem && <span class="problem">{problem}</span>}
    </>
  );
}

function gradeText(grade: number): string {
  return grade === 1 ? 'right' : `${percent(grade)} alike`;
}
