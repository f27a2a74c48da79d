// Runs a prompt over the rows of a file, with every chosen model.
import { computed, signal } from '@preact/signals';
import { errorText } from '../api.ts';
import { counted } from '../format.ts';
import { generate } from './answering.ts';
import { newAnswer } from './chat.ts';
import type { Settings } from './settings.ts';
import { filled, jsonlRows, type Row, tableRows, variablesOf } from './templates.ts';

/** More would only queue on the server. */
const CONCURRENCY = 4;
/** The most rows that a browser handles well. */
const MAX_ROWS = 10_000;

/** One run. */
export class RowRun {
  readonly #settings: Settings;
  #stopping = new AbortController();
  readonly template = signal('');
  readonly rows = signal<readonly Row[]>([]);
  /** The answers of each row by model, in the order of the rows. */
  readonly answers = signal<readonly Row[]>([]);
  readonly failed = signal(0);
  readonly isRunning = signal(false);
  readonly problem = signal('');
  readonly answered = computed(() => this.answers.value.filter(Boolean).length);
  /** Variables of the prompt that the rows do not have. */
  readonly missing = computed(() =>
    variablesOf(this.template.value).filter((name) => !(name in (this.rows.value[0] ?? {}))),
  );
  /** The rows with their answers. */
  readonly results = computed(() =>
    this.rows.value.map((row, i) => ({ ...row, ...this.answers.value[i] })),
  );

  constructor(settings: Settings) {
    this.#settings = settings;
  }

  /** Reads the rows of a CSV or JSONL file. Ends a run over other rows. */
  async read(file: File): Promise<void> {
    this.stop();
    this.#stopping = new AbortController();
    const { signal } = this.#stopping;
    this.answers.value = [];
    this.rows.value = [];
    this.problem.value = '';
    try {
      const text = await file.text();
      const rows = /\.(jsonl|ndjson)$/i.test(file.name) ? jsonlRows(text) : await csvRows(text);
      if (signal.aborted) return; // another file was chosen
      if (rows.length === 0) throw new Error('The file has no rows.');
      if (rows.length > MAX_ROWS)
        throw new Error(`The file has ${counted(rows.length, 'row')}, of at most ${MAX_ROWS}.`);
      this.rows.value = rows;
    } catch (error) {
      if (!signal.aborted) this.problem.value = errorText(error);
    }
  }

  /** Answers all rows with the message and the models of now, several at a time. */
  async start(): Promise<void> {
    this.stop();
    this.#stopping = new AbortController();
    const { signal } = this.#stopping;
    this.answers.value = [];
    this.failed.value = 0;
    this.isRunning.value = true;
    const template = this.template.value;
    // A file of labels often names its column like the model that learned them.
    const taken = new Set(this.rows.value.flatMap(Object.keys));
    const columnOf = (model: string) => (taken.has(model) ? `${model}: answer` : model);
    const waiting = this.rows.value.entries();
    const work = async () => {
      for (const [i, row] of waiting) {
        const texts = signal.aborted
          ? undefined
          : await this.#answer(filled(template, row), columnOf, signal);
        if (!texts || signal.aborted) return;
        const answers = [...this.answers.value];
        answers[i] = texts;
        this.answers.value = answers;
      }
    };
    try {
      await Promise.all(Array.from({ length: CONCURRENCY }, work));
    } finally {
      if (!signal.aborted) this.isRunning.value = false;
    }
  }

  /** Stops. The answers so far stay. */
  stop(): void {
    this.#stopping.abort();
    this.isRunning.value = false;
  }

  async #answer(
    prompt: string,
    columnOf: (model: string) => string,
    signal: AbortSignal,
  ): Promise<Row | undefined> {
    const texts: Record<string, string> = {};
    for (const [column, model] of this.#settings.models.value.entries()) {
      const body = this.#settings.toBody([], { column, model, prompt });
      const answer = await generate(newAnswer(model), { body, signal, onGrown: () => {} });
      if (signal.aborted) return undefined;
      const calls = answer.calls.map((call) => `${call.name}(${call.arguments})`);
      texts[columnOf(model)] = [answer.text, ...calls].filter(Boolean).join('\n');
      if (answer.problem === '') continue;
      texts[`${model}: problem`] = answer.problem;
      this.failed.value++;
    }
    return texts;
  }
}

/** Loads the library for CSV. */
const loadPapa = async () => (await import('papaparse')).default;

/** Writes rows as CSV. */
export async function toCsv(rows: readonly Row[]): Promise<string> {
  const columns = [...new Set(rows.flatMap((row) => Object.keys(row)))];
  return (await loadPapa()).unparse([...rows], { columns });
}

async function csvRows(text: string): Promise<Row[]> {
  const Papa = await loadPapa();
  return tableRows(Papa.parse<string[]>(text, { skipEmptyLines: 'greedy' }).data);
}
