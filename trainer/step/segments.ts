// Runs the decoder blocks segment by segment. The forward pass saves the input of every segment, and the saved tensors of the
// segments that have room. The backward pass recomputes the other segments' tensors.
import { assert } from '../../src/common/assert.ts';
import { type Lazy, lazy } from '../../src/common/lazy.ts';
import type { DecoderConfig } from '../../src/model/config.ts';
import type { Dims } from '../../src/onnx/graph-builder.ts';
import type { OrtTensor } from '../../src/ort/tensor.ts';
import { INPUT_SUFFIX } from '../graph/inputs.ts';
import {
  evaluationGraph,
  SEGMENT,
  type SegmentGraphs,
  type SegmentSpec,
  segmentGraphs,
} from '../graph/segment-graph.ts';
import type { BlockAdapter } from '../graph/training-lowering.ts';
import type { Compute } from '../types.ts';
import { type BaseWeights, layerOf, shiftLayer } from './base-weights.ts';
import type { DropoutMasks } from './dropout-masks.ts';
import {
  createGraphRun,
  type GraphRun,
  type SessionSettings,
  type TensorByName,
} from './graph-run.ts';
import type { TrainedTensors } from './parameters.ts';
import { SavedActivations, type SegmentActivations } from './saved-activations.ts';
import type { Workspace } from './workspace.ts';

/** The parts of the model that the segments run. */
interface SegmentsOptions {
  readonly config: DecoderConfig;
  readonly settings: SessionSettings;
  readonly workspace: Workspace;
  readonly base: BaseWeights;
  readonly trained: TrainedTensors;
  /** The adapted linears of each layer. */
  readonly adapters: readonly BlockAdapter[];
  /** Undefined: no dropout. */
  readonly masks: DropoutMasks | undefined;
  /** The limit for saved tensors, not counting the segments' inputs. */
  readonly savedBytes: number;
  readonly blocksPerSegment: number;
  readonly compute: Compute;
  /** Whether the gradient of the first hidden states is needed. */
  readonly trainsEmbedding: boolean;
  /** Called after each segment of a micro-batch, with their number so far in its passes. */
  readonly onSegment?: ((done: number, total: number) => void) | undefined;
}

/** A batch's shape, and the inputs that all blocks read. */
export interface BatchShape {
  readonly rows: number;
  readonly length: number;
  readonly inputs: ReadonlyMap<string, OrtTensor>;
}

interface Segment {
  readonly index: number;
  readonly firstLayer: number;
  readonly graphs: GraphSet;
}

/** The graphs shared by all segments with the same attention, adapted linears and trained weights. */
interface GraphSet {
  readonly recomputing: Runnable<SegmentGraphs>;
  readonly saving: Runnable<SegmentGraphs>;
  readonly evaluation: Runnable<ReturnType<typeof evaluationGraph>>;
}

/** Graphs with their sessions. A session is created on first use. */
interface Runnable<Graphs> {
  readonly graphs: Graphs;
  readonly runs: Partial<Record<'forward' | 'backward', Lazy<GraphRun>>>;
}

/** The decoder's blocks in training. */
export class Segments {
  readonly #options: SegmentsOptions;
  readonly #segments: readonly Segment[];
  /** The first segment with trained weights. The backward pass ends there. */
  readonly #firstTrained: number;
  readonly #saved: SavedActivations;

  constructor(options: SegmentsOptions) {
    this.#options = options;
    this.#segments = createSegments(options);
    const first = this.#segments.findIndex(
      ({ graphs }) => graphs.recomputing.graphs.gradients.size > 0,
    );
    const count = this.#segments.length;
    this.#firstTrained = options.trainsEmbedding ? 0 : first < 0 ? count : first;
    this.#saved = new SavedActivations(options.workspace, options.savedBytes);
  }

  /** Computes the last hidden states [tokens, D] from hidden(0). Saves the tensors that `backward` needs. */
  async forward(batch: BatchShape): Promise<OrtTensor<'float32'>> {
    this.#allocateSaved(batch);
    for (const segment of this.#segments) {
      const training = this.#trainingGraphs(segment);
      const run = await this.#run(segment, training, 'forward');
      const done = run.run(this.#inputs(segment, batch), (name) =>
        name === training.graphs.output
          ? this.hidden(batch, segment.index + 1)
          : this.#saved.value(segment.index, name),
      );
      this.#prefetch(segment.index + 1);
      await done;
      this.#options.onSegment?.(segment.index + 1, this.#runsOfTraining);
    }
    return this.hidden(batch, this.#segments.length);
  }

  /** Computes the last hidden states without dropout. Saves nothing. */
  async evaluate(batch: BatchShape): Promise<OrtTensor<'float32'>> {
    for (const segment of this.#segments) {
      const from = this.hidden(batch, segment.index % 2);
      const run = await this.#run(segment, segment.graphs.evaluation, 'forward');
      const inputs = this.#inputs(segment, batch);
      const done = run.run(
        (name, dims) => (name === SEGMENT.hidden ? from : inputs(name, dims)),
        () => this.hidden(batch, (segment.index + 1) % 2),
      );
      this.#prefetch(segment.index + 1);
      await done;
      this.#options.onSegment?.(segment.index + 1, this.#segments.length);
    }
    return this.hidden(batch, this.#segments.length % 2);
  }

  /** Returns the tensor from which `backward` reads d(last hidden states) [tokens, D]. */
  lastGradient(batch: BatchShape): OrtTensor<'float32'> {
    return this.#gradient(batch, this.#segments.length);
  }

  /**
   * Adds the parameters' gradients. Returns d(first hidden states) if the embedding is trained, otherwise the gradient at the
   * first trained segment.
   */
  async backward(batch: BatchShape): Promise<OrtTensor<'float32'>> {
    let gradient = this.lastGradient(batch);
    for (const segment of this.#segments.slice(this.#firstTrained).reverse()) {
      const training = this.#trainingGraphs(segment);
      const { graphs } = training;
      const run = await this.#run(segment, training, 'backward');
      const inputs = this.#inputs(segment, batch);
      const output = this.#gradient(batch, segment.index);
      const weightOf = new Map([...graphs.gradients].map(([weight, name]) => [name, weight]));
      const from = gradient;
      const done = run.run(
        (name, dims) => (name === SEGMENT.outputGradient ? from : inputs(name, dims)),
        (name) =>
          name === graphs.inputGradient ? output : this.#grad(segment, weightOf.get(name)!),
      );
      this.#prefetch(segment.index - 1);
      await done;
      gradient = output;
      const total = this.#runsOfTraining;
      this.#options.onSegment?.(total - segment.index + this.#firstTrained, total);
    }
    return gradient;
  }

  /** The segments of a forward and a backward pass. */
  get #runsOfTraining(): number {
    return 2 * this.#segments.length - this.#firstTrained;
  }

  /** Returns the tensor of the hidden states [tokens, D] before a segment. */
  hidden({ rows, length }: BatchShape, segment: number): OrtTensor<'float32'> {
    const shape = [rows * length, this.#options.config.hiddenSize];
    return this.#options.workspace.tensor(`hidden.${segment}`, 'float32', shape);
  }

  /** Returns the tensor of d(hidden states before a segment). Two buffers alternate. */
  #gradient({ rows, length }: BatchShape, segment: number): OrtTensor<'float32'> {
    const shape = [rows * length, this.#options.config.hiddenSize];
    return this.#options.workspace.tensor(`gradient.${segment % 2}`, 'float32', shape);
  }

  /** Unpacks the segment's weights and returns its session, which is created on first use. */
  async #run<Kind extends 'forward' | 'backward'>(
    { firstLayer }: Segment,
    { graphs, runs }: Runnable<Readonly<Record<Kind, Uint8Array>>>,
    kind: Kind,
  ): Promise<GraphRun> {
    this.#options.base.load(firstLayer);
    runs[kind] ??= lazy(() => createGraphRun(graphs[kind], this.#options.settings));
    return runs[kind].get();
  }

  /** Unpacks the next segment's weights while this thread would wait for the current one. */
  #prefetch(index: number): void {
    const segment = this.#segments[index];
    if (segment) this.#options.base.load(segment.firstLayer);
  }

  #inputs(segment: Segment, batch: BatchShape): TensorByName {
    const { base, trained, masks } = this.#options;
    const { firstLayer, index } = segment;
    return (name, dims) => {
      if (name === SEGMENT.hidden) return this.hidden(batch, index);
      const global = shiftLayer(name, firstLayer);
      const known = batch.inputs.get(name) ?? trained.get(global)?.value;
      if (known) return known;
      if (name.endsWith(INPUT_SUFFIX.gradient)) {
        return trained.get(global.slice(0, -INPUT_SUFFIX.gradient.length))?.grad;
      }
      if (name.endsWith(INPUT_SUFFIX.start)) {
        return trained.get(global.slice(0, -INPUT_SUFFIX.start.length))?.start;
      }
      if (name.endsWith(INPUT_SUFFIX.mask)) return masks?.mask(global, this.#sizes(dims, batch));
      return base.bound(name, firstLayer) ?? this.#saved.value(index, name);
    };
  }

  #grad({ firstLayer }: Segment, name: string): OrtTensor | undefined {
    return this.#options.trained.get(shiftLayer(name, firstLayer))?.grad;
  }

  #trainingGraphs({ index, graphs }: Segment): Runnable<SegmentGraphs> {
    return this.#saved.has(index) ? graphs.saving : graphs.recomputing;
  }

  #allocateSaved(batch: BatchShape): void {
    const trained = this.#segments.slice(this.#firstTrained);
    const activationsOf = ({ graphs }: Segment): SegmentActivations =>
      new Map(graphs.saving.graphs.saved.map(({ name, dims }) => [name, this.#sizes(dims, batch)]));
    this.#saved.allocate(
      `${batch.rows} x ${batch.length}`,
      new Map(trained.map((segment) => [segment.index, activationsOf(segment)])),
    );
  }

  #sizes(dims: Dims, { rows, length }: BatchShape): number[] {
    const { headCount, kvHeadCount } = this.#options.config;
    const tokens = rows * length;
    const queries = (headCount / kvHeadCount) * length;
    const sizes: Readonly<Record<string, number>> = { rows, length, tokens, queries };
    return dims.map((dim) => {
      const size = typeof dim === 'number' ? dim : sizes[dim];
      assert(size !== undefined, `no size is known for ${dim}`);
      return size;
    });
  }

  async release(): Promise<void> {
    this.#saved.release();
    for (const set of new Set(this.#segments.map(({ graphs }) => graphs))) {
      for (const { runs } of [set.recomputing, set.saving, set.evaluation]) {
        for (const run of Object.values(runs)) (await run.peek())?.release();
      }
    }
  }
}

function createSegments(options: SegmentsOptions): Segment[] {
  const { config, adapters, blocksPerSegment, masks, trained, compute } = options;
  const sets = new Map<string, GraphSet>();
  const segments: Segment[] = [];
  for (let firstLayer = 0; firstLayer < config.layerCount; firstLayer += blocksPerSegment) {
    const own = adapters.slice(firstLayer, firstLayer + blocksPerSegment);
    const layers = config.layers.slice(firstLayer, firstLayer + blocksPerSegment);
    const attention = layers.map(({ rope, slidingWindow }) => [
      rope && config.ropes.indexOf(rope),
      slidingWindow,
    ]);
    const ofGraph = namesInGraph(trained, firstLayer, blocksPerSegment);
    const key = JSON.stringify([own.map((adapter) => [...adapter]), attention, ofGraph]);
    let graphs = sets.get(key);
    if (!graphs) {
      graphs = createGraphSet({
        config,
        layers,
        adapters: own,
        dropout: masks !== undefined,
        compute,
        isTrained: (name) => trained.has(shiftLayer(name, firstLayer)),
      });
      sets.set(key, graphs);
    }
    segments.push({ index: segments.length, firstLayer, graphs });
  }
  return segments;
}

/** Returns the names under which the segment's graphs read trained tensors. */
function namesInGraph(trained: TrainedTensors, firstLayer: number, blocks: number): string[] {
  return [...trained.keys()].flatMap((name) => {
    const block = layerOf(name) - firstLayer;
    return block >= 0 && block < blocks ? [shiftLayer(name, -firstLayer)] : [];
  });
}

function createGraphSet(spec: Omit<SegmentSpec, 'recompute'>): GraphSet {
  const training = (recompute: boolean) => ({ ...spec, recompute });
  return {
    recomputing: { graphs: segmentGraphs(training(true)), runs: {} },
    saving: { graphs: segmentGraphs(training(false)), runs: {} },
    evaluation: { graphs: evaluationGraph(spec), runs: {} },
  };
}
