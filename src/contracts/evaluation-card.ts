// Evaluation cards as rows to read, be they the trainer's own or what a manifest holds, which anybody may have written.
import { z } from 'zod';
import type { EvaluationCard } from './training.ts';

const cardSchema = z.looseObject({
  gates: z
    .array(
      z.object({
        gate: z.string().max(64),
        passed: z.boolean(),
        value: z.number(),
        relation: z.enum(['<', '<=', '>']),
        limit: z.number(),
      }),
    )
    .max(64),
  skipped: z.array(z.object({ gate: z.string().max(64), reason: z.string().max(500) })).max(64),
});

/** Undefined where it is none. */
export function readCard(value: unknown): EvaluationCard | undefined {
  return cardSchema.safeParse(value).data;
}

type Row = readonly [name: string, text: string];

/** Gate → what came of it, then figure → its value; in this order. */
export function cardRows(card: EvaluationCard): Row[] {
  const { gates, skipped, ...figures } = card;
  return [
    ...gates.map(
      ({ gate, passed, value, relation, limit }): Row => [
        `gate ${gate}`,
        `${passed ? 'passed' : 'REFUSED'}: ${showFigure(value)} is ${passed ? '' : 'not '}${relation} ${showFigure(limit)}`,
      ],
    ),
    ...skipped.map(({ gate, reason }): Row => [`gate ${gate}`, `skipped: ${reason}`]),
    ...Object.entries(figures).flatMap(([name, value]): Row[] =>
      typeof value === 'number' ? [[name, showFigure(value)]] : [],
    ),
  ];
}

/** Four digits tell. */
export function showFigure(value: number): string {
  return String(Number(value.toPrecision(4)));
}

/** One line a row. */
export function formatRows(rows: readonly Row[]): string {
  const width = Math.max(...rows.map(([name]) => name.length));
  return rows.map(([name, text]) => `${name.padEnd(width)}  ${text}`).join('\n');
}
