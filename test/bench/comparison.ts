// Medians of the rounds, side by side: this checkout, an earlier one, and llama-server, with the goals that they are held
// against.
import { median } from './quantile.ts';

/** Who was measured: this checkout, the one that `--against` names, or llama-server. */
export const SIDES = ['this', 'before', 'llama'] as const;
export type Side = (typeof SIDES)[number];

/**
 * Returns the sides in the order of a round. The first one is slower by up to a seventh: it finds the caches of the machine as
 * another left them. So the order changes from round to round.
 */
export function inTurn<T>(sides: readonly T[], round: number): T[] {
  return round % 2 === 0 ? [...sides] : sides.toReversed();
}

/** A goal for this checkout's figure. */
export interface Goal {
  /** What the figure is compared with: a number, or another side's figure. */
  readonly against: 'number' | Exclude<Side, 'this'>;
  readonly bound: 'at least' | 'at most';
  /** The number, or the factor of the other side's figure. */
  readonly limit: number;
  /** Added to the other side's figure; default 0. */
  readonly plus?: number;
}

/** One row of the report. */
export interface Figure {
  readonly metric: string;
  readonly unit: string;
  readonly medians: Readonly<Record<Side, number | undefined>>;
  readonly goals: readonly { readonly text: string; readonly isMet: boolean | undefined }[];
}

/** One value for each round, by side. */
export type Samples = Readonly<Partial<Record<Side, readonly number[]>>>;

/** Takes medians and judges the goals. A goal whose other side was not measured is not judged. */
export function toFigure(
  metric: string,
  unit: string,
  samples: Samples,
  goals: readonly Goal[],
): Figure {
  const medians = {
    this: median(samples.this),
    before: median(samples.before),
    llama: median(samples.llama),
  };
  return { metric, unit, medians, goals: goals.map((goal) => judge(goal, medians)) };
}

function judge(goal: Goal, medians: Figure['medians']): Figure['goals'][number] {
  const { against, bound, limit, plus = 0 } = goal;
  const sign = bound === 'at least' ? '≥' : '≤';
  const factor = limit === 1 ? '' : `${limit} x `;
  const text =
    against === 'number'
      ? `${sign} ${limit}`
      : `${sign} ${factor}${against}${plus ? ` + ${plus}` : ''}`;
  const other = against === 'number' ? 1 : medians[against];
  const ours = medians.this;
  if (ours === undefined || other === undefined) return { text, isMet: undefined };
  const bar = limit * other + plus;
  return { text, isMet: bound === 'at least' ? ours >= bar : ours <= bar };
}

/** A markdown table. */
export function toMarkdown(figures: readonly Figure[]): string {
  const rows = figures.map(({ metric, unit, medians, goals }) => {
    const ratio = (side: Side) =>
      medians.this === undefined || !medians[side]
        ? '-'
        : (medians.this / medians[side]).toFixed(2);
    const judged = goals.map(({ text, isMet }) =>
      isMet === undefined ? `${text}: not measured` : `${text}: ${isMet ? 'yes' : '**no**'}`,
    );
    const cells = [metric, unit, show(medians.this), show(medians.before), ratio('before')];
    return `| ${[...cells, show(medians.llama), ratio('llama'), judged.join('; ')].join(' | ')} |`;
  });
  return [
    '| metric | unit | this | before | ratio | llama.cpp | ratio | goals |',
    '|---|---|---:|---:|---:|---:|---:|---|',
    ...rows,
  ].join('\n');
}

function show(value: number | undefined): string {
  if (value === undefined) return '-';
  return value.toFixed(value < 10 ? 3 : value < 1000 ? 1 : 0);
}
