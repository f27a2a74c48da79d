// What is known of each optimizer step, and its forms on disk: JSON lines and OpenAI's result table.

export interface Validation {
  /** Weighted mean over the validation rows' trained tokens, in nats. */
  readonly validationLoss: number;
  readonly validationTokenAccuracy: number;
}

/** One line of `metrics.jsonl`. */
export interface StepMetrics extends Partial<Validation> {
  /** From 1. */
  readonly step: number;
  /** The window's weighted sum over the window's weight, in nats. */
  readonly loss: number;
  /** Before clipping. */
  readonly gradNorm: number;
  readonly learningRate: number;
  /** Tokens of the window, without padding. */
  readonly tokens: number;
  readonly tokensPerSecond: number;
  /** Share of trained tokens that the largest logit got right. */
  readonly tokenAccuracy: number;
}

/** Lines of a file that may have lost its end in a crash; what comes after `lastStep` is left out. */
export function parseMetrics(text: string, lastStep: number): StepMetrics[] {
  const rows: StepMetrics[] = [];
  for (const line of text.split('\n')) {
    try {
      const row: StepMetrics = JSON.parse(line);
      if (row.step <= lastStep) rows.push(row);
    } catch {
      // a torn or empty line
    }
  }
  return rows;
}

export function serializeMetrics(rows: readonly StepMetrics[]): string {
  return rows.map((row) => `${JSON.stringify(row)}\n`).join('');
}

/** OpenAI's `result_files` table; cells are empty where nothing was evaluated. */
export function toResultCsv(rows: readonly StepMetrics[]): string {
  const header = 'step,train_loss,train_accuracy,valid_loss,valid_mean_token_accuracy\n';
  const lines = rows.map((row) =>
    [
      row.step,
      row.loss,
      row.tokenAccuracy,
      row.validationLoss ?? '',
      row.validationTokenAccuracy ?? '',
    ].join(','),
  );
  return header + lines.map((line) => `${line}\n`).join('');
}
