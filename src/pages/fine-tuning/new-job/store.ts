// The state of the form of a new job. Files are uploaded as soon as they are chosen, the server plans the job after every change,
// and `start` sends exactly what was planned.
import { computed, effect, signal } from '@preact/signals';
import type { FileObject, FineTuningJob } from '../../../contracts/fine-tuning-api.ts';
import type { ModelList } from '../../../contracts/openai.ts';
import { errorText, requestJson } from '../../api.ts';
import type { ComboboxItem } from '../../components/combobox.tsx';
import { createId } from '../../ids.ts';
import * as drafts from './draft.ts';
import { createFiles, uploadedFile } from './files.ts';
import { createGraderEditor } from './grader-store.ts';
import { createNameCheck } from './name.ts';
import { type BadFile, createPlanner } from './planner.ts';
import { type ClassifierRows, decodeText, type Table, toLines } from './table.ts';

const ITEM = 'lorikeet.job-draft';

/** A table whose columns the user names. */
export interface OpenTable {
  readonly place: drafts.Place;
  readonly name: string;
  readonly text: string;
  readonly isUnicode: boolean;
}

/** A job whose settings the form takes over, some of them changed. */
export interface Repeated {
  readonly job: FineTuningJob;
  /** By field. */
  readonly changes: Readonly<Record<string, string>>;
}

/** The properties of a part of the form. */
export interface StoreProps {
  readonly store: NewJobStore;
}

/** Everything that the form shows, and the functions that change it. */
export type NewJobStore = ReturnType<typeof createNewJob>;

/** Creates the state, with the draft that this tab has stored. @param onCreated called with the job's id */
export function createNewJob(onCreated: (id: string) => void) {
  const draft = signal(drafts.parseDraft(sessionStorage.getItem(ITEM)));
  const change = (part: Partial<drafts.JobDraft>) => {
    draft.value = { ...draft.value, ...part };
    problem.value = '';
  };
  /** After signing out nothing is stored. */
  const stopStoring = effect(() => sessionStorage.setItem(ITEM, JSON.stringify(draft.value)));
  addEventListener('signout', stopStoring);
  const files = createFiles(draft);
  const grader = createGraderEditor(draft, files);
  const name = createNameCheck(draft);
  const models = signal<readonly ComboboxItem[]>([]);
  const table = signal<OpenTable>();
  const problem = signal('');
  const planner = createPlanner(draft, { files, refusal: grader.refusal });
  /** The request that is sent; undefined while there is no plan of it, or its name cannot be used. */
  const planned = computed(() => (name.isReady.value ? planner.planned.value : undefined));

  requestJson<ModelList>('v1/models').then(
    ({ data }) => {
      models.value = data.map(({ id, parent }) => ({
        value: id,
        note: parent ? 'adapter' : 'base',
      }));
      if (draft.value.model === '') change({ model: baseName() });
    },
    (error) => {
      problem.value = errorText(error);
    },
  );
  const baseName = () => models.value.find(({ note }) => note === 'base')?.value ?? 'base';
  const reset = () => {
    draft.value = { ...drafts.EMPTY_DRAFT, model: baseName() };
    problem.value = '';
  };
  /** Shows why something failed. */
  async function attempt(failure: string, act: () => Promise<void>) {
    problem.value = '';
    await act().catch((error) => {
      problem.value = `${failure}: ${errorText(error)}`;
    });
  }
  /** The same body gets the same key. Sending it again after a lost response creates no second job. */
  let request = { body: '', key: '' };
  const isStarting = signal(false);
  /** How often the form was filled from a job: only the last one counts. */
  let repeats = 0;

  return {
    ...{ draft, change, files, grader, name, models, table, problem, view: planner.view },
    recommended: planner.recommended,
    isStarting,
    canStart: computed(() => planned.value !== undefined && !isStarting.value),
    changeField(id: string, typed: string) {
      change({ fields: { ...draft.value.fields, [id]: typed } });
    },
    /** Empties the form, and deletes the uploads that nothing else uses. */
    clear() {
      for (const place of drafts.PLACES) files.replace(place);
      reset();
    },
    async repeat({ job, changes }: Repeated) {
      for (const place of drafts.PLACES) files.replace(place); // an upload would take the place of the job's file
      const repeat = ++repeats;
      problem.value = '';
      const read = async (id: string | null) => {
        if (id === null) return undefined;
        const file = requestJson<FileObject>(`v1/files/${id}`);
        return file.then(uploadedFile, () => {
          problem.value = 'A file of that job has been deleted. Choose it again.';
        });
      };
      const ids = [job.training_file, job.validation_file];
      const [training, validation] = await Promise.all(ids.map(read));
      if (repeat !== repeats) return;
      const found = { ...(training && { training }), ...(validation && { validation }) };
      draft.value = { ...drafts.draftOfJob(job, changes), files: found };
    },
    /** Takes a file that the user has chosen. A table becomes JSONL first. */
    async take(place: drafts.Place, file: File) {
      const { name } = file;
      if (!/\.(?:csv|tsv)$/i.test(name)) return files.upload(place, file);
      return attempt(`${name} could not be read`, async () => {
        const bytes = new Uint8Array(await file.arrayBuffer());
        table.value = { place, name, ...decodeText(bytes) };
      });
    },
    /** Uploads the rows of the open table. Pairs are for DPO. */
    useTable(rows: Table, { place, name: fileName }: OpenTable) {
      change({ method: rows.form === 'pairs' ? 'dpo' : 'supervised' });
      const text = toLines(rows).map((line) => `${line}\n`);
      void files.upload(place, new File(text, fileName.replace(/\.\w+$/, '.jsonl')));
    },
    /** Uploads a file again without its bad lines. */
    skipLines({ place, remaining }: BadFile) {
      void files.upload(place, new File([remaining], draft.value.files[place]!.name));
    },
    /** Uploads the training file again, for a classifier. */
    trainClassifier({ lines }: ClassifierRows) {
      void files.upload('training', new File([lines.join('\n')], draft.value.files.training!.name));
    },
    async start() {
      if (!planned.value || isStarting.value) return;
      const suffix = draft.value.suffix.trim();
      const json = { ...JSON.parse(planned.value), ...(suffix !== '' && { suffix }) };
      const text = JSON.stringify(json);
      if (request.body !== text) request = { body: text, key: createId() };
      isStarting.value = true;
      await attempt('The job was not started', async () => {
        const headers = { 'idempotency-key': request.key };
        const job = await requestJson<FineTuningJob>('v1/fine_tuning/jobs', { json, headers });
        request = { body: '', key: '' };
        onCreated(job.id);
        reset(); // the next job inherits nothing
      });
      isStarting.value = false;
    },
  };
}
