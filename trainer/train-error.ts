// Why a run cannot go on, as an error that ends it.

/** A run cannot go on; what it has learned before is in its checkpoints. */
export class TrainError extends Error {
  override name = 'TrainError';
  readonly code: 'non_finite_loss' | 'nothing_to_learn';

  constructor(code: TrainError['code'], message: string) {
    super(message);
    this.code = code;
  }
}
