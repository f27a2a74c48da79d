// The draft of a new job: what the user has entered, and the request that it becomes. Pure: no server and no element.
import type { FineTuningJob } from '../../../contracts/fine-tuning-api.ts';
import type { Objective } from '../../../contracts/preference-settings.ts';
import type { FormField } from '../../../contracts/training-fields.ts';
import { parseJson } from '../../json.ts';
import { FIELDLESS_SETTINGS, FORM_FIELDS } from '../../tables.ts';
import { writeTemplate } from './grader.ts';

/** A file of the job. It is uploading while it has neither an id nor a problem. */
export interface DraftFile {
  readonly name: string;
  readonly byteSize: number;
  /** The server's id; empty until the upload has ended. */
  readonly id: string;
  /** Why the upload failed. */
  readonly problem: string;
  /** Whether only this draft uses the upload, which is then deleted with its place here. */
  readonly isOwn: boolean;
  /** The uploaded part, 0 to 1. */
  readonly share: number;
  /** Absent if the file was on the server before the page was opened. */
  readonly file?: File;
}

/** Which of the job's files. */
export const PLACES = ['training', 'validation'] as const;
/** One of them. */
export type Place = (typeof PLACES)[number];

/** An empty draft. */
export const EMPTY_DRAFT = {
  /** Empty: the base. */
  model: '',
  /** The adapter's name as typed. */
  suffix: '',
  method: 'supervised' as Objective,
  /** Settings with a field, as typed, by id. */
  fields: {} as Readonly<Record<string, string>>,
  /** The `lorikeet` settings of a repeated job that have no field. */
  carried: {} as Readonly<Record<string, unknown>>,
  /** The share of the training file that is held out for validation, in percent. */
  heldOut: 0,
  /** JSON as typed. */
  grader: writeTemplate(),
  /** Whether the grader is a template, which follows the rows. */
  isTemplate: true,
  /** The response format of a repeated job that learns from rewards. */
  format: undefined as unknown,
  files: {} as Readonly<Partial<Record<Place, DraftFile>>>,
};
/** The draft of a job. */
export type JobDraft = Readonly<typeof EMPTY_DRAFT>;

/** Returns the fields that a method has. */
export function fieldsOf(method: Objective): readonly FormField[] {
  return FORM_FIELDS.filter(({ objectives }) => objectives.includes(method));
}

/** Returns what is wrong with a typed setting; empty if nothing. */
export function fieldFault({ isInteger, min, max, options }: FormField, typed: string): string {
  if (typed === '' || options) return '';
  const value = Number(typed);
  if (!Number.isFinite(value) || (isInteger && !Number.isInteger(value)))
    return `must be a ${isInteger ? 'whole ' : ''}number.`;
  const isOutside = value < (min ?? -Infinity) || value > (max ?? Infinity);
  return isOutside ? `must be from ${min} to ${max}.` : '';
}

/** Returns the first fault of a draft's settings; undefined if the server may plan it. @param refusal why the server refuses the grader */
export function draftFault(draft: JobDraft, refusal: string): string | undefined {
  for (const field of fieldsOf(draft.method)) {
    const fault = fieldFault(field, draft.fields[field.id] ?? '');
    if (fault) return `${field.label}: ${fault}`;
  }
  if (draft.method !== 'reinforcement') return undefined;
  if (parseJson(draft.grader) === undefined) return 'The grader is not JSON.';
  return refusal === '' ? undefined : `The grader is not valid: ${refusal}`;
}

/** Returns the request that plans or creates a draft's job. Empty fields are left out. @param recommended the arithmetic unless the user has chosen one */
export function toRequest(draft: JobDraft, recommended: string) {
  const { method: type, carried, heldOut, format, files } = draft;
  const fields: JobDraft['fields'] = { compute: recommended, ...draft.fields };
  const filled = (parent: FormField['parent']) =>
    Object.fromEntries(
      fieldsOf(type)
        .filter((field) => field.parent === parent && fields[field.id])
        .map(({ id, options }) => [id, options ? fields[id] : Number(fields[id])]),
    );
  const hyperparameters = filled('hyperparameters');
  const isPlain = type === 'supervised' && Object.keys(hyperparameters).length === 0;
  const rewarded = type === 'reinforcement' && {
    grader: parseJson(draft.grader),
    ...(format !== undefined && { response_format: format }),
  };
  const split = !files.validation && heldOut > 0 && { validation_split: heldOut / 100 };
  return {
    model: draft.model || 'base',
    training_file: files.training?.id,
    ...(files.validation && { validation_file: files.validation.id }),
    ...filled('job'),
    ...(!isPlain && { method: { type, [type]: { ...rewarded, hyperparameters } } }),
    lorikeet: { ...carried, ...filled('lorikeet'), ...split } as Record<string, unknown>,
  };
}

/** Returns the settings of a job as a draft without files, some of them changed. */
export function draftOfJob(
  { method, lorikeet, seed, ...job }: FineTuningJob,
  changes: JobDraft['fields'],
): JobDraft {
  const { hyperparameters = {} } = method[method.type] ?? {};
  // A job that names no arithmetic was trained in float32.
  const settings = { ...hyperparameters, compute: 'float32', ...lorikeet, seed };
  const values: Readonly<Record<string, unknown>> = settings;
  const fields = FORM_FIELDS.flatMap(({ id, options = [] }) => {
    const value = values[id];
    const isKnown = typeof value === 'number' || options.some((option) => option === value);
    return isKnown ? [[id, String(value)]] : [];
  });
  const { validation_split: share = 0 } = lorikeet;
  const kept = FIELDLESS_SETTINGS.filter((id) => id in values && id !== 'validation_split');
  const { grader, response_format: format } = method.reinforcement ?? {};
  return {
    ...{ ...EMPTY_DRAFT, model: job.model, method: method.type, format, heldOut: 100 * share },
    suffix: job.user_provided_suffix ?? '',
    fields: { ...Object.fromEntries(fields), ...changes },
    carried: Object.fromEntries(kept.map((id) => [id, values[id]])),
    ...(grader && { grader: JSON.stringify(grader, null, 2), isTemplate: false }),
  };
}

const LEFT = 'The page was left during the upload. Choose the file again.';

/** Reads a draft that was stored as JSON. An upload that had not ended is lost. Other texts give the empty draft. */
export function parseDraft(text: string | null): JobDraft {
  const stored = parseJson(text ?? '') as JobDraft | null | undefined;
  // An older version stored an array of files.
  if (!stored?.files || Array.isArray(stored.files) || !isMethod(stored.method)) return EMPTY_DRAFT;
  const files = Object.entries(stored.files).map(([place, { file: _, ...rest }]) => {
    return [place, { ...rest, problem: rest.problem || (rest.id === '' ? LEFT : '') }];
  });
  return { ...EMPTY_DRAFT, ...stored, files: Object.fromEntries(files) };
}

/** Every method has a field of its own, or shares one. */
function isMethod(method: Objective): boolean {
  return FORM_FIELDS.some(({ objectives }) => objectives.includes(method));
}
