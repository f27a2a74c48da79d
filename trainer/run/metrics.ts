// The metrics of each optimizer step, and how they are stored: as JSON lines and as OpenAI's result table.

/** The result of a validation. */
export interface Validation {
  /** Weighted mean over the validation rows' tokens in the loss, in nats. */
  readonly validationLoss: number;
  readonly validationTokenAccuracy: number;
}

/** One line of `metrics.jsonl`. */
export interface StepMetrics extends Partial<Validation> {
  /** Counted from 1. */
  readonly step: number;
  /** Weighted mean over the step's tokens, in nats. */
  readonly loss: number;
  /** The gradient's norm before clipping. */
  readonly gradNorm: number;
  readonly learningRate: number;
  /** Tokens of the step, without padding. */
  readonly tokens: number;
  readonly tokensPerSecond: number;
  /** Share of the tokens in the loss that have the largest logit. */
  readonly tokenAccuracy: number;
}

/** Parses the metrics up to `lastStep`. A crash may have torn the file's last line. */
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

/** Serializes metrics as JSON lines. */
export function serializeMetrics(rows: readonly StepMetrics[]): string {
  return rows.map((row) => `${JSON.stringify(row)}\n`).join('');
}

/** Returns OpenAI's result table. The validation cells of steps without a validation are empty. */
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
