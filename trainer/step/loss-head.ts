// Computes the loss, the accuracy and the gradient of the last hidden states. Rows with a target are processed in chunks,
// because a chunk's logits are the largest tensor of a step.
import { type Lazy, lazy } from '../../src/common/lazy.ts';
import type { OrtTensor } from '../../src/ort/tensor.ts';
import { INPUT_SUFFIX } from '../graph/inputs.ts';
import type { LossHeadSpec } from '../graph/loss-head-graph.ts';
import {
  evaluationHeadGraph,
  LOSS_HEAD,
  type LossHeadGraph,
  logitsGraph,
  lossHeadGraph,
} from '../graph/loss-head-graph.ts';
import type { LossSums, MicroBatch, WeighTargets } from '../types.ts';
import {
  createGraphRun,
  type GraphRun,
  type SessionSettings,
  type TensorByName,
} from './graph-run.ts';
import type { TrainedTensors } from './parameters.ts';
import type { Workspace } from './workspace.ts';

/** Rows per chunk: enough for fast matrix products. With a vocabulary of 49,152 a chunk's logits take 50 MB. */
const CHUNK_ROWS = 256;

/** The parts of the model that make up the head. */
interface LossHeadOptions {
  readonly spec: LossHeadSpec;
  readonly settings: SessionSettings;
  readonly workspace: Workspace;
  readonly weight: TensorByName;
  readonly trained: TrainedTensors;
}

/** The final norm, the output head and the loss. */
export class LossHead {
  readonly #options: LossHeadOptions;
  readonly #graph: LossHeadGraph;
  readonly #training: Lazy<GraphRun>;
  readonly #evaluation: Lazy<GraphRun>;
  readonly #logits: Lazy<GraphRun>;

  constructor(options: LossHeadOptions) {
    this.#options = options;
    const { spec, settings, trained } = options;
    this.#graph = lossHeadGraph(spec, (name) => trained.has(name));
    this.#training = lazy(() => createGraphRun(this.#graph.bytes, settings));
    this.#evaluation = lazy(() => createGraphRun(evaluationHeadGraph(spec), settings));
    this.#logits = lazy(() => createGraphRun(logitsGraph(spec), settings));
  }

  /** Returns the loss of the hidden states [tokens, D], and fills `gradient` of the same shape. */
  async accumulate(
    batch: MicroBatch,
    hidden: OrtTensor<'float32'>,
    { gradient, weigh }: { gradient: OrtTensor<'float32'>; weigh: WeighTargets | undefined },
  ): Promise<LossSums> {
    const { workspace, trained, spec } = this.#options;
    const graph = await this.#training.get();
    const gradOf = new Map(
      [...this.#graph.gradients].map(([name, output]) => [output, trained.get(name)!.grad]),
    );
    const into = gradient.data.fill(0);
    const weights = weigh?.(await this.score(batch, hidden));
    const runChunk = async (chunk: Chunk) => {
      const shape = [chunk.rows.length, spec.config.hiddenSize];
      const rowGradient = workspace.tensor('head.gradient', 'float32', shape);
      await graph.run(chunk.input, (name, dims) =>
        name === this.#graph.hiddenGradient
          ? rowGradient
          : (gradOf.get(name) ?? chunk.output(name, dims)),
      );
      scatterRows(rowGradient.data, chunk.rows, into);
    };
    return this.#overChunks(batch, hidden, runChunk, weights);
  }

  /** Returns the log-probabilities of the trained targets. */
  async score(batch: MicroBatch, hidden: OrtTensor<'float32'>): Promise<number[]> {
    const scores: number[] = [];
    await this.evaluate(batch, hidden, (losses) => {
      for (const loss of losses) scores.push(-loss);
    });
    return scores;
  }

  /** Returns only the loss. @param onLosses gets the losses of consecutive targets */
  async evaluate(
    batch: MicroBatch,
    hidden: OrtTensor<'float32'>,
    onLosses?: (losses: Float32Array) => void,
  ): Promise<LossSums> {
    const graph = await this.#evaluation.get();
    return this.#overChunks(batch, hidden, async (chunk) => {
      await graph.run(chunk.input, chunk.output);
      onLosses?.(chunk.loss.data.subarray(0, chunk.rows.length));
    });
  }

  /** Returns the token or class with the largest logit after each row's last token. */
  async predict(batch: MicroBatch, hidden: OrtTensor<'float32'>): Promise<number[]> {
    const { spec, workspace } = this.#options;
    const shape = [batch.rows, spec.config.hiddenSize];
    const last = workspace.tensor('head.last_rows', 'float32', shape);
    gatherRows(hidden.data, lastPositions(batch), last.data);
    const logits = await this.logits(last);
    return Array.from({ length: batch.rows }, (_, row) =>
      indexOfLargest(logits.subarray(row * spec.size, (row + 1) * spec.size)),
    );
  }

  /** Returns the logits [tokens, V or classes] of all positions, as a copy. */
  async logits(hidden: OrtTensor<'float32'>): Promise<Float32Array> {
    const { spec, workspace, weight } = this.#options;
    const graph = await this.#logits.get();
    const shape = [hidden.shape[0]!, spec.size];
    const logits = workspace.tensor('head.all_logits', 'float32', shape);
    await graph.run(
      (name, dims) => (name === LOSS_HEAD.hidden ? hidden : weight(name, dims)),
      () => logits,
    );
    return logits.data.slice();
  }

  /** @param weights of the targets in the loss. Default: the batch's */
  async #overChunks(
    { targets, weights: ofPositions }: MicroBatch,
    hidden: OrtTensor<'float32'>,
    run: (chunk: Chunk) => Promise<void>,
    weights?: Float32Array,
  ): Promise<LossSums> {
    const sums = { loss: 0, weight: 0, count: 0, hits: 0 };
    const counting = countingRows(targets, ofPositions);
    const ofTargets = weights ?? Float32Array.from(counting, (row) => ofPositions[row]!);
    for (let start = 0; start < counting.length; start += CHUNK_ROWS) {
      const rows = counting.subarray(start, start + CHUNK_ROWS);
      const chunkWeights = ofTargets.subarray(start, start + CHUNK_ROWS);
      const chunk = this.#chunk(rows, hidden.data, { targets, weights: chunkWeights });
      await run(chunk);
      for (let i = 0; i < rows.length; i++) {
        const weight = chunkWeights[i]!;
        sums.loss += weight * chunk.loss.data[i]!;
        sums.weight += weight;
        if (chunk.margin.data[i] === 0) sums.hits++;
      }
      sums.count += rows.length;
    }
    return sums;
  }

  /** @param batch the targets of all positions, and the weights of the chunk's rows */
  #chunk(
    rows: Int32Array,
    hidden: Float32Array,
    { targets, weights }: Pick<MicroBatch, 'targets' | 'weights'>,
  ): Chunk {
    const { workspace, weight, trained, spec } = this.#options;
    const count = rows.length;
    const rowTensor = workspace.tensor(LOSS_HEAD.hidden, 'float32', [
      count,
      spec.config.hiddenSize,
    ]);
    const targetTensor = workspace.tensor(LOSS_HEAD.targets, 'int64', [count, 1]);
    const weightTensor = workspace.tensor(LOSS_HEAD.weights, 'float32', [count, 1]);
    gatherRows(hidden, rows, rowTensor.data);
    targetTensor.data.set(BigInt64Array.from(rows, (row) => BigInt(targets[row]!)));
    weightTensor.data.set(weights);
    const loss = workspace.tensor(LOSS_HEAD.loss, 'float32', [count, 1]);
    const margin = workspace.tensor(LOSS_HEAD.margin, 'float32', [count, 1]);
    const inputs = new Map<string, OrtTensor>([
      [LOSS_HEAD.hidden, rowTensor],
      [LOSS_HEAD.targets, targetTensor],
      [LOSS_HEAD.weights, weightTensor],
    ]);
    for (const [name, { grad }] of trained) inputs.set(name + INPUT_SUFFIX.gradient, grad);
    return {
      rows,
      loss,
      margin,
      input: (name, dims) => inputs.get(name) ?? weight(name, dims),
      output: (name) => (name === LOSS_HEAD.loss ? loss : margin),
    };
  }

  async release(): Promise<void> {
    for (const run of [this.#training, this.#evaluation, this.#logits]) {
      (await run.peek())?.release();
    }
  }
}

interface Chunk {
  readonly rows: Int32Array;
  readonly loss: OrtTensor<'float32'>;
  readonly margin: OrtTensor<'float32'>;
  readonly input: TensorByName;
  readonly output: TensorByName;
}

/** Returns the positions whose target is part of the loss. */
function countingRows(targets: Int32Array, weights: Float32Array): Int32Array {
  const rows = new Int32Array(targets.length);
  let count = 0;
  for (let row = 0; row < targets.length; row++) {
    if (targets[row]! >= 0 && weights[row]! > 0) rows[count++] = row;
  }
  return rows.subarray(0, count);
}

/** Returns [N]: the position of each row's last token. */
function lastPositions({ rows, length, segments }: MicroBatch): Int32Array {
  return Int32Array.from({ length: rows }, (_, row) => {
    let last = (row + 1) * length - 1;
    while (segments[last] === -1) last--;
    return last;
  });
}

function indexOfLargest(values: Float32Array): number {
  let best = 0;
  for (let i = 1; i < values.length; i++) if (values[i]! > values[best]!) best = i;
  return best;
}

/** Copies the selected rows of `from` to consecutive rows. */
function gatherRows(from: Float32Array, rows: Int32Array, into: Float32Array): void {
  const width = into.length / rows.length;
  for (const [i, row] of rows.entries()) {
    into.set(from.subarray(row * width, (row + 1) * width), i * width);
  }
}

/** Copies consecutive rows to the selected rows of `into`. */
function scatterRows(from: Float32Array, rows: Int32Array, into: Float32Array): void {
  const width = from.length / rows.length;
  for (const [i, row] of rows.entries()) {
    into.set(from.subarray(i * width, (i + 1) * width), row * width);
  }
}
