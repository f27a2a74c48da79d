// The state of the grader's editor: JSON that the server checks as it is typed, and a trial of it on a row of the training file.
import { computed, effect, type Signal, signal, untracked } from '@preact/signals';
import type { GraderRun } from '../../../contracts/fine-tuning-api.ts';
import type { ChatCompletion } from '../../../contracts/openai.ts';
import { ApiError, errorText, requestJson } from '../../api.ts';
import { confirm } from '../../components/confirm.ts';
import { parseJson } from '../../json.ts';
import { FORM_FIELDS } from '../../tables.ts';
import type { JobDraft } from './draft.ts';
import type { Files } from './files.ts';
import * as graders from './grader.ts';

const API = 'v1/fine_tuning/alpha/graders';
/** The pause after the last key press before the server is asked. */
const TYPING_MS = 400;
/** The setting that limits the completions of the trainer, and of a trial. */
const LENGTH = FORM_FIELDS.find(({ id }) => id === 'completion_length')!;
const REPLACED = {
  title: 'Replace the grader?',
  text: 'What you have written is lost.',
  action: 'Replace',
};

/** Creates the editor of a draft's grader. It works while the draft's job learns from rewards. */
export function createGraderEditor(draft: Signal<JobDraft>, files: Files) {
  /** The last grader that the server was asked about, and why it refuses it. */
  const checked = signal({ grader: '', refusal: '' });
  const hasPython = signal(false);
  /** The number of the row that is tried, from 1. */
  const rowNumber = signal(1);
  const row = signal<graders.PromptRow>();
  /** The completion that is graded. */
  const output = signal('');
  const trial = signal<{ busy?: string; problem?: string; run?: GraderRun }>({});
  const change = (part: Partial<JobDraft>) => {
    draft.value = { ...draft.value, ...part };
  };
  const isShown = computed(() => draft.value.method === 'reinforcement');
  const text = computed(() => draft.value.grader);
  const value = computed(() => parseJson(text.value));
  const file = computed(() => draft.value.files.training?.id);

  effect(() => {
    const [grader, json] = [text.value, value.value];
    if (!isShown.value || json === undefined) return;
    const timer = setTimeout(async () => {
      const refusal = await refusalOf(json);
      if (text.value === grader) checked.value = { grader, refusal };
    }, TYPING_MS);
    return () => clearTimeout(timer);
  });

  let hasAskedForPython = false; // the server counts each refusal as an error
  effect(() => {
    if (!isShown.value || hasAskedForPython) return;
    hasAskedForPython = true;
    const python = parseJson(graders.writeTemplate(graders.PYTHON));
    void refusalOf(python).then((refusal) => {
      hasPython.value = refusal === '';
    });
  });

  effect(() => {
    const [number, id] = [rowNumber.value, file.value];
    if (isShown.value) untracked(() => void readRow(number, id));
  });
  /** A template follows the row. */
  async function readRow(number: number, id: string | undefined) {
    const lines = (await files.read('training').catch(() => '')).split('\n');
    if (number !== rowNumber.value || id !== file.value) return;
    row.value = graders.readRow(lines[number - 1] ?? '');
    const { isTemplate, grader } = draft.value;
    if (isTemplate)
      change({ grader: graders.writeTemplate(graders.templateOf(grader), row.value) });
  }

  /** Why the server refuses the grader; empty while nothing is known against it. */
  const refusal = computed(() =>
    checked.value.grader === text.value ? checked.value.refusal : '',
  );
  const verdict = computed(() => {
    if (value.value !== undefined && checked.value.grader !== text.value) return '…';
    return graders.verdictOn(text.value, {
      ...{ refusal: refusal.value, row: row.value, number: rowNumber.value },
    });
  });

  async function attempt(busy: string, work: () => Promise<GraderRun>) {
    trial.value = { busy };
    try {
      trial.value = { run: await work() };
    } catch (error) {
      trial.value = { problem: errorText(error) };
    }
  }
  function run() {
    const json = { grader: value.value, model_sample: output.value, item: row.value?.item };
    return requestJson<GraderRun>(`${API}/run`, { json });
  }

  return {
    ...{ refusal, verdict, hasPython, rowNumber, row, output, trial },
    /** Whether no job can have the grader. */
    isBad: computed(() => refusal.value !== '' || value.value === undefined),
    type: (grader: string) => change({ grader, isTemplate: false }),
    /** Replaces the grader, unless the user keeps what was typed. */
    async useTemplate(id: string) {
      if (!draft.value.isTemplate && !(await confirm(REPLACED))) return;
      change({ grader: graders.writeTemplate(id, row.value), isTemplate: true });
    },
    grade: () => attempt('Grading …', run),
    /** Has the model complete the row's prompt, and grades the completion. */
    sample: () =>
      attempt('Sampling …', async () => {
        const { messages, tools } = row.value ?? {};
        const { model, fields } = draft.value;
        const json = { model: model || 'base', messages, tools, temperature: 1 };
        const maxTokens = Number(fields[LENGTH.id] || LENGTH.placeholder);
        const { choices } = await complete({ ...json, max_tokens: maxTokens }).catch((error) => {
          const isLong = error instanceof ApiError && error.code === 'context_length_exceeded';
          if (isLong) return complete(json); // up to the end of the context, as in training
          throw error;
        });
        output.value = choices[0]?.message.content ?? '';
        return run();
      }),
  };
}

/** Returns why the server refuses a grader; empty if it does not. */
async function refusalOf(grader: unknown): Promise<string> {
  const checking = requestJson(`${API}/validate`, { json: { grader }, isQuiet: true });
  return checking.then(() => '', errorText);
}

function complete(json: object): Promise<ChatCompletion> {
  return requestJson('v1/chat/completions', { json });
}
