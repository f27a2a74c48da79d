// The gates that an adapter must pass before publication, one row each. Pure: maps figures to verdicts.
import { MAX_WEIGHT } from '../../adapters/peft/refusal.ts';
import type { EvaluationCard, GateVerdict } from '../../src/contracts/evaluation-card.ts';
import { showFigure } from '../../src/contracts/evaluation-card.ts';
import type { GateSettings } from '../../src/contracts/training-messages.ts';
import { GATE_SETTINGS } from '../../src/contracts/training-settings.ts';

/** The measurements of an adapter. A figure is undefined if there was no data for it. */
export interface Figures {
  /** Whether the adapter is a classifier, which does not generate text. */
  readonly classifies: boolean;
  /** Whether the adapter gets the highest reward. Absent: no. */
  readonly isSolved?: boolean | undefined;
  /** The number of weights and losses that are not finite. */
  readonly nonFinite: number;
  /** The largest finite weight, including the scaling, as in the engine. */
  readonly largestWeight: number;
  /** Mean |log p with the adapter - log p of the base| over the probed tokens, in nats. */
  readonly change: number | undefined;
  /** Mean losses over the validation rows, in nats. For a classifier, guessing takes the place of the base. */
  readonly validation: Comparison | undefined;
  /** The number of greedy answers that are empty or repeat one token, although the base's do not. */
  readonly degenerate: number | undefined;
  /** Mean losses over the fixed text, in nats. */
  readonly text: Comparison | undefined;
}

/** A measurement without and with the adapter. */
export interface Comparison<T = number> {
  readonly base: T;
  readonly adapter: T;
}

/**
 * Serving the base with 8-bit weights changes the mean loss by 0.006 nats. An adapter that changes single tokens by less than a
 * sixth of that has no visible effect.
 */
const MIN_CHANGE = 1e-3;
interface Gate {
  readonly name: string;
  /** Returns undefined if it was not measured. */
  readonly value: (figures: Figures) => number | undefined;
  readonly relation: GateVerdict['relation'];
  readonly limit: (settings: GateSettings, figures: Figures) => number;
  readonly say: (value: string, limit: string) => string;
  /** Why the figure may be missing. Absent: it is always measured. */
  readonly needs?: string;
  /** Whether the gate applies only to generated text. */
  readonly isOfText?: true;
  /** Whether the gate asks for a gain over the base, which may get the highest reward itself. */
  readonly isOfGain?: true;
}

const RELATIONS: Readonly<
  Record<GateVerdict['relation'], (value: number, limit: number) => boolean>
> = {
  '<': (value, limit) => value < limit,
  '<=': (value, limit) => value <= limit,
  '>': (value, limit) => value > limit,
};

const GATES: readonly Gate[] = [
  {
    name: 'finite',
    value: ({ nonFinite }) => nonFinite,
    relation: '<=',
    limit: () => 0,
    say: (value) => `${value} weights or losses are not finite`,
  },
  {
    name: 'weights',
    value: ({ largestWeight }) => largestWeight,
    relation: '<=',
    limit: () => MAX_WEIGHT,
    say: (value, limit) => `the largest weight is ${value}, the limit is ${limit}`,
  },
  {
    name: 'applied',
    value: ({ change }) => change,
    relation: '>',
    limit: () => MIN_CHANGE,
    say: (value, limit) =>
      `it changes log-probabilities by ${value} on average, not by more than ${limit}`,
    needs: 'there are no rows or text to probe it with',
    isOfGain: true,
  },
  {
    name: 'validation',
    value: ({ validation }) => validation?.adapter,
    relation: '<',
    limit: ({ margin = GATE_SETTINGS.margin.default }, { validation }) => validation!.base - margin,
    say: (value, limit) =>
      `its validation loss is ${value}, but must be below ${limit} (the loss without the adapter, minus the margin)`,
    needs: 'there are no validation rows',
    isOfGain: true,
  },
  {
    name: 'generation',
    value: ({ degenerate }) => degenerate,
    relation: '<=',
    limit: () => 0,
    say: (value) => `${value} of its answers are empty or repeat one token`,
    needs: 'there are no prompts',
    isOfText: true,
  },
  {
    name: 'forgetting',
    value: ({ text }) => text && text.adapter - text.base,
    relation: '<=',
    limit: ({ maxForgetting = GATE_SETTINGS.maxForgetting.default }) => maxForgetting,
    say: (value, limit) =>
      `the loss on plain English rises by ${value} nats, the limit is ${limit}`,
    needs: 'the model has no tokenizer',
    isOfText: true,
  },
];

/** The gates for weights that a server could not run. */
export const SAFETY_GATES: ReadonlySet<string> = new Set(['finite', 'weights']);

/** Nothing else is measured if weights are out of bounds. */
const OUT_OF_BOUNDS = 'its weights are out of bounds';

/** The base may have had it before the first step. */
const SOLVED = 'it gets the highest reward, so there was nothing to gain';

/** Returns the verdict of every gate that could be measured, and the skipped gates with the reasons. */
export function judgeGates(
  figures: Figures,
  settings: GateSettings,
): Pick<EvaluationCard, 'gates' | 'skipped'> {
  const gates: GateVerdict[] = [];
  const skipped: { gate: string; reason: string }[] = [];
  for (const { name, value: measure, relation, limit: limitOf, ...gate } of GATES) {
    const measured = measure(figures);
    if (measured === undefined) {
      skipped.push({ gate: name, reason: whyUnmeasured(gate, figures) });
      continue;
    }
    // JSON cannot represent infinity.
    const value = Number.isFinite(measured) ? measured : Number.MAX_VALUE;
    const limit = limitOf(settings, figures);
    const passed = Number.isFinite(measured) && RELATIONS[relation](value, limit);
    const isExcused = gate.isOfGain && figures.isSolved && Number.isFinite(measured);
    if (!passed && isExcused) skipped.push({ gate: name, reason: SOLVED });
    else gates.push({ gate: name, passed, value, relation, limit });
  }
  return { gates, skipped };
}

function whyUnmeasured({ needs, isOfText }: Pick<Gate, 'needs' | 'isOfText'>, figures: Figures) {
  if (!areInBounds(figures)) return OUT_OF_BOUNDS;
  return isOfText && figures.classifies ? 'a classifier does not generate text' : (needs ?? '');
}

/** Whether all weights are finite and small enough for the server. */
export function areInBounds({
  nonFinite,
  largestWeight,
}: Pick<Figures, 'nonFinite' | 'largestWeight'>): boolean {
  return nonFinite === 0 && largestWeight <= MAX_WEIGHT;
}

/** Returns one sentence with the figure for each gate that the adapter fails. */
export function sayFailures({ gates }: Pick<EvaluationCard, 'gates'>): string[] {
  return gates.flatMap((verdict) =>
    verdict.passed ? [] : [`gate ${verdict.gate}: ${sayVerdict(verdict)}`],
  );
}

function sayVerdict({ gate, value, limit }: GateVerdict): string {
  const { say } = GATES.find(({ name }) => name === gate)!;
  return say(showFigure(value), showFigure(limit));
}
