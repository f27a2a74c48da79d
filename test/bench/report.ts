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

export function toFigure(
  metric: string,
  unit: string,
  sides: { ours: readonly number[]; other?: readonly number[]; target?: Target },
): Figure {
  const ours = median(sides.ours);
  const other = median(sides.other ?? []);
  const ratio = ours !== undefined && other !== undefined ? ours / other : undefined;
  const { target } = sides;
  const judged = target?.kind === 'ratio' ? ratio : ours;
  return {
    metric,
    unit,
    ours,
    other,
    ratio,
    target: target ? `${target.bound} ${target.limit}${target.kind === 'ratio' ? ' x' : ''}` : '',
    isMet:
      target && judged !== undefined
        ? target.bound === 'at least'
          ? judged >= target.limit
          : judged <= target.limit
        : undefined,
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
