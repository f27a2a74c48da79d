// Plans a new job after every change of its draft, and says what is shown as the plan.
import { computed, effect, type ReadonlySignal, signal } from '@preact/signals';
import type { FineTuningPlan } from '../../../contracts/management-api.ts';
import { ApiError, errorText, isAbort, requestJson } from '../../api.ts';
import { size } from '../../format.ts';
import { FORM_FIELDS } from '../../tables.ts';
import { draftFault, type JobDraft, PLACES, type Place, toRequest } from './draft.ts';
import type { Files } from './files.ts';
import { badLines, parseLineFaults, withoutLines } from './lines.ts';
import { type ClassifierRows, toClassifier } from './table.ts';

/** The job is planned this long after the last change. */
const TYPING_MS = 300;
/** The server makes few plans at a time, and needs a moment to stop those that a change has outdated. */
const PLAN_TRIES = 20;
const PLAN_RETRY_MS = 1000;
/** The arithmetic that almost every plan recommends. If the plan recommends another, the job is planned again. */
const FIRST_GUESS = FORM_FIELDS.find(({ id }) => id === 'compute')?.options?.at(-1) ?? '';
const EMPTY_TEXT =
  'Choose a training file to see how long training will take, how much memory it needs and which tokens the model learns from. Training does not begin until you click Start.';

/** Bad lines of a file, and the texts of the first ones. */
export type BadFile = ReturnType<typeof parseLineFaults> & {
  readonly place: Place;
  readonly lines: ReturnType<typeof badLines>;
  /** The numbers of the bad lines, as many as the server lists. */
  readonly numbers: readonly number[];
  /** The file without them; empty if that is not possible. */
  readonly remaining: string;
};

/** A plan. */
export interface PlannedView {
  readonly kind: 'planned';
  readonly plan: FineTuningPlan;
  /** The rows for a classifier, if the answers look like classes. */
  readonly classifier: ClassifierRows | undefined;
}

/** The content of the panel of the plan. */
type PlanView =
  | { readonly kind: 'empty' | 'busy'; readonly text: string }
  | { readonly kind: 'problem'; readonly text: string; readonly retry?: (() => void) | undefined }
  | { readonly kind: 'bad file'; readonly file: BadFile }
  | PlannedView;

/** Creates the planner. @param refusal why the server refuses the grader */
export function createPlanner(
  draft: ReadonlySignal<JobDraft>,
  { files, refusal }: { readonly files: Files; readonly refusal: ReadonlySignal<string> },
) {
  /** The arithmetic that the last plan recommends. */
  const recommended = signal(FIRST_GUESS);
  const outcome = signal<{ readonly body: string; readonly view: PlanView }>();
  let stopPlanning = new AbortController();

  /** The reason why the job cannot be planned. */
  const obstacle = computed((): PlanView | undefined => {
    for (const place of PLACES) {
      const { [place]: one } = draft.value.files;
      if (one?.problem) {
        const retry = one.file && (() => void files.upload(place, one.file!));
        return { kind: 'problem', text: `${one.name} was not uploaded: ${one.problem}`, retry };
      }
      if (one?.id === '')
        return { kind: 'busy', text: `Uploading ${one.name}, ${size(one.byteSize)}` };
    }
    if (!draft.value.files.training) return { kind: 'empty', text: EMPTY_TEXT };
    const fault = draftFault(draft.value, refusal.value);
    return fault === undefined ? undefined : { kind: 'problem', text: fault };
  });
  /** The request that is planned. A text, so that equal ones are one. */
  const body = computed(() => {
    return obstacle.value ? undefined : JSON.stringify(toRequest(draft.value, recommended.value));
  });
  effect(() => {
    const wanted = body.value;
    if (wanted === undefined) outcome.value = undefined;
    const isNew = wanted !== undefined && wanted !== outcome.peek()?.body;
    const timer = isNew ? setTimeout(() => void plan(wanted), TYPING_MS) : undefined;
    return () => {
      clearTimeout(timer);
      stopPlanning.abort();
    };
  });

  async function plan(wanted: string) {
    stopPlanning = new AbortController();
    const { signal } = stopPlanning;
    outcome.value = undefined;
    try {
      const view = await askPlan(wanted, signal).catch((error) => viewOfError(error, wanted));
      if (signal.aborted) return;
      if (view.kind === 'planned') recommended.value = view.plan.recommended_compute;
      if (signal.aborted) return; // the recommended arithmetic is another one, and is planned
      outcome.value = { body: wanted, view };
    } catch (error) {
      if (!isAbort(error)) throw error;
    }
  }

  async function askPlan(wanted: string, signal: AbortSignal): Promise<PlanView> {
    const plan = await requestPlan(JSON.parse(wanted), signal);
    const isSupervised = draft.value.method === 'supervised' && !plan.labels;
    const rows = isSupervised ? await files.read('training').catch(() => '') : '';
    return { kind: 'planned', plan, classifier: toClassifier(rows.split('\n')) };
  }

  async function viewOfError(error: unknown, wanted: string): Promise<PlanView> {
    if (isAbort(error)) throw error;
    if (!(error instanceof ApiError)) {
      return { kind: 'problem', text: errorText(error), retry: () => void plan(wanted) };
    }
    const found = parseLineFaults(error.message);
    if (found.faults.size === 0)
      return { kind: 'problem', text: found.rest, retry: () => void plan(wanted) };
    const place = error.param === 'validation_file' ? 'validation' : 'training';
    const text = await files.read(place).catch(() => '');
    const lines = badLines(text, found.faults);
    const numbers = error.lines ?? [...found.faults.keys()];
    const remaining = withoutLines(text, numbers);
    return { kind: 'bad file', file: { ...found, place, lines, numbers, remaining } };
  }

  const busy = { kind: 'busy', text: 'Checking every line and planning the job' } as const;
  return {
    recommended,
    view: computed((): PlanView => obstacle.value ?? outcome.value?.view ?? busy),
    /** The request whose plan is shown; undefined if there is none. */
    planned: computed(() => {
      const { body: planned, view } = outcome.value ?? {};
      return view?.kind === 'planned' && planned === body.value ? planned : undefined;
    }),
  };
}

/** Requests a plan, and retries while the server is busy. */
async function requestPlan(body: ReturnType<typeof toRequest>, signal: AbortSignal) {
  const json = { ...body, lorikeet: { ...body.lorikeet, dry_run: true } };
  for (let tries = 1; ; tries++) {
    try {
      return await requestJson<FineTuningPlan>('v1/fine_tuning/jobs', { json, signal });
    } catch (error) {
      const isBusy = error instanceof ApiError && error.code === 'overloaded';
      if (!isBusy || tries === PLAN_TRIES) throw error;
      await new Promise((resolve) => setTimeout(resolve, PLAN_RETRY_MS));
      signal.throwIfAborted();
    }
  }
}
