// An adapter that does not pass its gates, as an error that ends a run.
import type { EvaluationCard } from '../../src/contracts/training.ts';

/** The run was not in vain: the adapter is in its folder, but it is not published. */
export class GateError extends Error {
  override name = 'GateError';
  readonly code = 'gate_failed';
  readonly card: EvaluationCard;

  constructor(message: string, card: EvaluationCard) {
    super(message);
    this.card = card;
  }
}
