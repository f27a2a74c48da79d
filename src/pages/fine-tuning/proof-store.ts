// Asks a job's adapter and its base the questions that the job held out, and grades the answers.
import { signal } from '@preact/signals';
import type { FileObject, FineTuningJob, GraderRun } from '../../contracts/fine-tuning-api.ts';
import type { ChatCompletion } from '../../contracts/openai.ts';
import { classify, generate } from '../adapters/answers.ts';
import { errorText, isAbort, request, requestJson } from '../api.ts';
import { size } from '../format.ts';
import {
  heldOutRows,
  isEqual,
  messageText,
  type Question,
  rowsOf,
  toQuestion,
} from './held-out.ts';
import { faultsOf } from './new-job/grader.ts';
import { besideOf } from './settings.ts';

/** The server has few slots, and ten answers tell enough. */
const MAX_QUESTIONS = 10;
/** The page reads a file whole. */
const MAX_FILE_BYTES = 64 * 2 ** 20;

/** Says how alike an answer and the expected one are, if the job has no grader of its own. */
const ALIKE = {
  type: 'text_similarity',
  name: 'alike',
  input: '{{sample.output_text}}',
  reference: '{{item.expected}}',
  evaluation_metric: 'fuzzy_match',
};

/** A graded answer. */
export interface Answer {
  readonly text: string;
  /** From 0 to 1, or the reward of the job's grader. */
  readonly grade?: number;
  /** Why there is no grade. */
  readonly problem?: string;
}

/** A question with the answers so far, by model. */
interface ProofRow {
  readonly question: Question;
  readonly answers: Readonly<Record<string, Answer>>;
}

/** The held-out questions of a job that has succeeded. */
export type ProofStore = ReturnType<typeof createProofStore>;

/** Makes the questions of a job, and reads them. */
export function createProofStore(job: FineTuningJob) {
  const adapter = job.fine_tuned_model!;
  const base = besideOf(job);
  /** The adapter's model, and before it the base's; a classifier has no base to compare with. */
  const models = base === undefined ? [adapter] : [base, adapter];
  /** Undefined until they were read; empty: the job held none out, or none that asks something. */
  const rows = signal<readonly ProofRow[]>();
  /** Why they could not be read. */
  const problem = signal('');
  const isRunning = signal(false);
  const abort = new AbortController();

  readQuestions(job).then(
    (questions) => {
      rows.value = questions.map((question) => ({ question, answers: {} }));
    },
    (error: unknown) => {
      problem.value = errorText(error);
    },
  );

  function setAnswer(question: Question, model: string, answer: Answer) {
    rows.value = rows.value!.map((row) =>
      row.question === question ? { question, answers: { ...row.answers, [model]: answer } } : row,
    );
  }

  async function answer(question: Question, model: string) {
    try {
      const text = await ask(question, model, abort.signal);
      setAnswer(question, model, { text });
      setAnswer(question, model, { text, ...(await grade(job, question, text)) });
    } catch (error) {
      if (!isAbort(error)) setAnswer(question, model, { text: '', problem: errorText(error) });
    }
  }

  return {
    ...{ adapter, models, rows, problem, isRunning, holdsOut: heldOutFile(job) !== undefined },
    /** Asks and grades all questions. */
    async run() {
      if (isRunning.value) return;
      isRunning.value = true;
      const questions = rows.value!.map(({ question }) => question);
      rows.value = questions.map((question) => ({ question, answers: {} }));
      for (const question of questions) {
        await Promise.all(models.map((model) => answer(question, model)));
        if (abort.signal.aborted) return;
      }
      isRunning.value = false;
    },
    /** Ends the requests. */
    stop: () => abort.abort(),
  };
}

/** Returns the file with the rows that a job held out; undefined if it held none out. */
function heldOutFile({ validation_file: own, training_file: whole, lorikeet }: FineTuningJob) {
  return own ?? (lorikeet.validation_split ? whole : undefined);
}

async function readQuestions(job: FineTuningJob): Promise<Question[]> {
  const id = heldOutFile(job);
  if (id === undefined) return [];
  const { bytes } = await requestJson<FileObject>(`v1/files/${id}`);
  if (bytes > MAX_FILE_BYTES) throw new Error(`The file is too large to show: ${size(bytes)}.`);
  const text = await (await request(`v1/files/${id}/content`)).text();
  const share = job.validation_file === null ? job.lorikeet.validation_split : undefined;
  const rows = rowsOf(text, (await import('papaparse')).default);
  const lines = heldOutRows(rows, share, job.seed);
  return lines.slice(0, MAX_QUESTIONS).flatMap((line) => toQuestion(line) ?? []);
}

async function ask(question: Question, model: string, signal: AbortSignal): Promise<string> {
  const { kind, prompt, messages, tools } = question;
  if (kind === 'text') return (await classify(model, prompt, signal))[0]!.name;
  if (kind === 'prompt') {
    const asked = { model, json: { prompt }, signal };
    const { choices } = await generate<{ choices: [{ text: string }] }>('v1/completions', asked);
    return choices[0].text;
  }
  const asked = { model, json: { messages, tools }, signal };
  const { choices } = await generate<ChatCompletion>('v1/chat/completions', asked);
  return messageText(choices[0]!.message);
}

async function grade(
  job: FineTuningJob,
  { expected, item }: Question,
  text: string,
): Promise<Pick<Answer, 'grade' | 'problem'>> {
  const own = job.method.reinforcement?.grader;
  if (!own && expected === undefined) return {};
  if (!own && isEqual(text, expected!)) return { grade: 1 };
  const run = await requestJson<GraderRun>('v1/fine_tuning/alpha/graders/run', {
    json: { grader: own ?? ALIKE, model_sample: text, item: own ? item : { expected } },
  });
  const problem = faultsOf(run);
  return problem ? { problem } : { grade: run.reward };
}
