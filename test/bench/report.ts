// Medians of the rounds, set against the targets: a markdown table and the same as JSON.
import { median } from './quantile.ts';

export interface Figure {
  readonly metric: string;
  readonly unit: string;
  readonly ours: number | undefined;
  /** The peer's, or our own base's where the target compares with that. */
  readonly other: number | undefined;
  readonly ratio: number | undefined;
  readonly target: string;
  /** Undefined where one side is missing or there is no target. */
  readonly isMet: boolean | undefined;
}

export interface Target {
  readonly kind: 'ratio' | 'value';
  readonly bound: 'at least' | 'at most';
  readonly limit: number;
}

export const atLeast = (limit: number, kind: Target['kind'] = 'value'): Target => {
  return { kind, bound: 'at least', limit };
};
export const atMost = (limit: number, kind: Target['kind'] = 'value'): Target => {
  return { kind, bound: 'at most', limit };
};

/** One value, or one of each round. */
type Measured = number | readonly number[];

export function toFigure(
  metric: string,
  unit: string,
  measured: Measured,
  {
    other: compared = [],
    target,
  }: { other?: Measured | undefined; target?: Target | undefined } = {},
): Figure {
  const ours = median([measured].flat());
  const other = median([compared].flat());
  const ratio = ours !== undefined && other !== undefined ? ours / other : undefined;
  const figure = { metric, unit, ours, other, ratio };
  if (!target) return { ...figure, target: '', isMet: undefined };
  const { kind, bound, limit } = target;
  const judged = kind === 'ratio' ? ratio : ours;
  return {
    ...figure,
    target: `${bound} ${limit}${kind === 'ratio' ? ' x' : ''}`,
    isMet:
      judged === undefined ? undefined : bound === 'at least' ? judged >= limit : judged <= limit,
  };
}

export function toMarkdown(figures: readonly Figure[]): string {
  const number = (value: number | undefined, digits: number) => value?.toFixed(digits) ?? '-';
  const rows = figures.map(({ metric, unit, ours, other, ratio, target, isMet }) => {
    const verdict = isMet === undefined ? '' : isMet ? 'yes' : '**no**';
    const cells = [metric, unit, number(ours, 1), number(other, 1), number(ratio, 2)];
    return `| ${[...cells, target, verdict].join(' | ')} |`;
  });
  return [
    '| metric | unit | lorikeet | compared with | ratio | target | met |',
    '|---|---|---|---|---|---|---|',
    ...rows,
  ].join('\n');
}
