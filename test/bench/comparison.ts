// Medians of the rounds, side by side: this checkout, an earlier one, and the peers, with the goals that this one is held
// against.
import { median } from './quantile.ts';

/** What was measured: `this` checkout, the one `before` that `--against` names, or a peer by its title. */
export type Side = string;

/**
 * Returns the sides in the order of a round. The first one is slower by up to a seventh: it finds the caches of the machine as
 * another left them. So the order changes from round to round.
 */
export function inTurn<T>(sides: readonly T[], round: number): T[] {
  return round % 2 === 0 ? [...sides] : sides.toReversed();
}

/** A goal for this checkout's figure. */
export interface Goal {
  /** What the figure is compared with: `number`, or another side's figure. */
  readonly against: Side;
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
export type Samples = Readonly<Record<Side, readonly number[]>>;

/** Takes medians and judges the goals. A goal whose other side was not measured is not judged. */
export function toFigure(
  metric: string,
  unit: string,
  samples: Samples,
  goals: readonly Goal[],
): Figure {
  const medians = Object.fromEntries(
    Object.entries(samples).map(([side, values]) => [side, median(values)]),
  );
  return { metric, unit, medians, goals: goals.map((goal) => judge(goal, medians)) };
}

function judge(goal: Goal, medians: Figure['medians']): Figure['goals'][number] {
  const { against, bound, limit, plus = 0 } = goal;
  const sign = bound === 'at least' ? '≥' : '≤';
  const factor = limit === 1 ? '' : `${limit}x `;
  const text =
    against === 'number'
      ? `${sign} ${limit}`
      : `${sign} ${factor}${against}${plus ? ` + ${plus}` : ''}`;
  const other = against === 'number' ? 1 : medians[against];
  const ours = medians['this'];
  if (ours === undefined || other === undefined) return { text, isMet: undefined };
  const bar = limit * other + plus;
  return { text, isMet: bound === 'at least' ? ours >= bar : ours <= bar };
}

/** Returns a Markdown table: a column for each side that was measured, with its ratio, and the goals. */
export function toMarkdown(figures: readonly Figure[]): string {
  const others = sidesOf(figures).filter((side) => side !== 'this');
  const rows = figures.map(({ metric, unit, medians, goals }) => {
    const compared = others.flatMap((side) => {
      const ratio = (medians['this'] ?? Number.NaN) / (medians[side] ?? Number.NaN);
      return [show(medians[side]), Number.isNaN(ratio) ? '-' : ratio.toFixed(2)];
    });
    const judged = goals.map(({ text, isMet }) =>
      isMet === undefined ? `${text}: not measured` : `${text}: ${isMet ? 'yes' : '**no**'}`,
    );
    return [metric, unit, show(medians['this']), ...compared, judged.join('; ')];
  });
  const titles = others.flatMap((side) => [side, 'ratio']);
  return toTable(['metric', 'unit', 'this', ...titles, 'goals'], rows);
}

/** Returns the Markdown table of a document: a column for lorikeet and for each peer, without ratios and goals. */
export function toPeerTable(figures: readonly Figure[], peers: readonly Side[]): string {
  const rows = figures.map(({ metric, unit, medians }) => [
    `${metric}, ${unit}`,
    ...['this', ...peers].map((side) => show(medians[side])),
  ]);
  return toTable(['', 'lorikeet', ...peers], rows);
}

function sidesOf(figures: readonly Figure[]): Side[] {
  const measured = figures.flatMap(({ medians }) =>
    Object.keys(medians).filter((side) => medians[side] !== undefined),
  );
  return [...new Set(measured)];
}

function toTable(titles: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]) => `| ${cells.join(' | ')} |`;
  return [line(titles), line(titles.map(() => '---')), ...rows.map(line)].join('\n');
}

function show(value: number | undefined): string {
  if (value === undefined) return '-';
  return value.toFixed(value < 10 ? 3 : value < 1000 ? 1 : 0);
}
