// The evaluation card of an adapter: its type, a parser for cards from manifests, and its rows as text.
import { z } from 'zod';
import { largest } from '../common/long-arrays.ts';
import { TRAINING_SETTINGS } from './training-settings.ts';

const verdictSchema = z.object({
  /** `finite`, `weights`, `applied`, `validation`, `generation` or `forgetting`. */
  gate: z.string().max(64),
  passed: z.boolean(),
  value: z.number(),
  /** The relation of value and limit that the gate requires. */
  relation: z.enum(['<', '<=', '>']),
  limit: z.number(),
});
/** The result of one gate. */
export type GateVerdict = Readonly<z.infer<typeof verdictSchema>>;

/** The results of the gates, and figures with a manifest's spelling. */
export const evaluationCardSchema = z.looseObject({
  gates: z.array(verdictSchema).max(64).readonly(),
  /** Gates that could not be measured. */
  skipped: z
    .array(z.object({ gate: z.string().max(64), reason: z.string().max(500) }))
    .max(64)
    .readonly(),
  /** The arithmetic in which the figures were measured: the run's, or float32 for `lorikeet eval`. */
  compute: TRAINING_SETTINGS.compute.schema.optional(),
});
/** The evaluation card of an adapter. */
export type EvaluationCard = Readonly<z.infer<typeof evaluationCardSchema>>;

/** Parses a card, which may come from an untrusted manifest. Undefined if it is not a card. */
export function readCard(value: unknown): EvaluationCard | undefined {
  return evaluationCardSchema.safeParse(value).data;
}

/** A line of a card. */
type CardRow = readonly [name: string, text: string];

/** Returns the rows of a card: the gates with their results, then the figures. */
export function cardRows(card: EvaluationCard): CardRow[] {
  const { gates, skipped, compute, ...figures } = card;
  return [
    ...gates.map(
      ({ gate, passed, value, relation, limit }): CardRow => [
        `gate ${gate}`,
        `${passed ? 'passed' : 'REFUSED'}: ${showFigure(value)} is ${passed ? '' : 'not '}${relation} ${showFigure(limit)}`,
      ],
    ),
    ...skipped.map(({ gate, reason }): CardRow => [`gate ${gate}`, `skipped: ${reason}`]),
    ...(compute === undefined ? [] : [['compute', compute] as const]),
    ...Object.entries(figures).flatMap(([name, value]): CardRow[] =>
      typeof value === 'number' ? [[name, showFigure(value)]] : [],
    ),
  ];
}

/** Formats a figure with four significant digits. */
export function showFigure(value: number): string {
  return String(Number(value.toPrecision(4)));
}

/** Formats rows as lines with aligned columns. */
export function formatRows(rows: readonly CardRow[]): string {
  const width = largest(rows.map(([name]) => name.length));
  return rows.map(([name, text]) => `${name.padEnd(width)}  ${text}`).join('\n');
}
