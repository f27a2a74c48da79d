// The decoder's blocks, run segment by segment: which graph serves which layers, and which tensor stands for each of its
// names. Forward keeps the input of every segment and, of as many as there is room for, what the backward graph reads;
// backward goes the way back and computes the others again.
import { assert } from '../../src/common/assert.ts';
import { type Lazy, lazy } from '../../src/common/lazy.ts';
import type { DecoderConfig } from '../../src/model/config.ts';
import { embeddingName } from '../../src/model/names.ts';
import type { Dims } from '../../src/onnx/graph-builder.ts';
import type { OrtTensor } from '../../src/ort/tensor.ts';
import {
  evaluationGraph,
  SEGMENT,
  type SegmentGraphs,
  type SegmentSpec,
  segmentGraphs,
} from '../graph/segment-graph.ts';
import { type BlockAdapter, INPUT_SUFFIX } from '../graph/training-lowering.ts';
import { type BaseWeights, shiftLayer } from './base-weights.ts';
import type { DropoutMasks } from './dropout-masks.ts';
import {
  createGraphRun,
  type GraphRun,
  type SessionSettings,
  type TensorByName,
} from './graph-run.ts';
import type { TrainedTensors } from './parameters.ts';
import { SavedActivations, type SegmentValues } from './saved-activations.ts';
import type { Workspace } from './workspace.ts';

export interface SegmentsOptions {
  readonly config: DecoderConfig;
  readonly settings: SessionSettings;
  readonly workspace: Workspace;
  readonly base: BaseWeights;
  readonly trained: TrainedTensors;
  /** What LoRA adapts, by layer. */
  readonly adapters: readonly BlockAdapter[];
  /** Absent: no dropout. */
  readonly masks: DropoutMasks | undefined;
  /** Of what forward may keep for backward, the segments' inputs apart. */
  readonly savedBytes: number;
  readonly blocksPerSegment: number;
}

/** The shape of a batch, and what all blocks read about it. */
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

/** The graphs of all segments that look alike. */
interface GraphSet {
  readonly recomputing: Runnable<SegmentGraphs>;
  readonly keeping: Runnable<SegmentGraphs>;
  readonly evaluation: Runnable<ReturnType<typeof evaluationGraph>>;
}

/** Graphs and their sessions, each made when it is first needed. */
interface Runnable<Graphs> {
  readonly graphs: Graphs;
  readonly runs: Partial<Record<'forward' | 'backward', Lazy<GraphRun>>>;
}

export class Segments {
  readonly #options: SegmentsOptions;
  readonly #segments: readonly Segment[];
  /** The first segment that has, or comes after, something to train. */
  readonly #firstTrained: number;
  readonly #kept: SavedActivations;

  constructor(options: SegmentsOptions) {
    this.#options = options;
    this.#segments = createSegments(options);
    const first = this.#segments.findIndex(
      ({ graphs }) => graphs.recomputing.graphs.gradients.size > 0,
    );
    this.#firstTrained = options.trained.has(embeddingName) ? 0 : first;
    this.#kept = new SavedActivations(options.workspace, options.savedBytes);
  }

  /** hidden(0) → the last hidden states [tokens, D], everything kept for `backward`. */
  async forward(batch: BatchShape): Promise<OrtTensor<'float32'>> {
    this.#arrangeKept(batch);
    for (const segment of this.#segments) {
      const training = this.#trainingGraphs(segment);
      const run = await this.#run(segment, training, 'forward');
      const done = run.run(this.#inputs(segment, batch), (name) =>
        name === training.graphs.output
          ? this.hidden(batch, segment.index + 1)
          : this.#kept.value(segment.index, name),
      );
      this.#loadMeanwhile(segment.index + 1);
      await done;
    }
    return this.hidden(batch, this.#segments.length);
  }

  /** The same without dropout, keeping nothing. */
  async evaluate(batch: BatchShape): Promise<OrtTensor<'float32'>> {
    for (const segment of this.#segments) {
      const from = this.hidden(batch, segment.index % 2);
      const run = await this.#run(segment, segment.graphs.evaluation, 'forward');
      const inputs = this.#inputs(segment, batch);
      const done = run.run(
        (name, dims) => (name === SEGMENT.hidden ? from : inputs(name, dims)),
        () => this.hidden(batch, (segment.index + 1) % 2),
      );
      this.#loadMeanwhile(segment.index + 1);
      await done;
    }
    return this.hidden(batch, this.#segments.length % 2);
  }

  /** Where `backward` expects d(last hidden states) [tokens, D]. */
  lastGradient(batch: BatchShape): OrtTensor<'float32'> {
    return this.#gradient(batch, this.#segments.length);
  }

  /** d(last hidden states) → d(first ones), where something before them is trained; adds the parameters' gradients. */
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
      this.#loadMeanwhile(segment.index - 1);
      await done;
      gradient = output;
    }
    return gradient;
  }

  /** The hidden states [tokens, D] before a segment. */
  hidden({ rows, length }: BatchShape, segment: number): OrtTensor<'float32'> {
    const shape = [rows * length, this.#options.config.hiddenSize];
    return this.#options.workspace.tensor(`hidden.${segment}`, 'float32', shape);
  }

  /** d(hidden states before a segment): two buffers take turns. */
  #gradient({ rows, length }: BatchShape, segment: number): OrtTensor<'float32'> {
    const shape = [rows * length, this.#options.config.hiddenSize];
    return this.#options.workspace.tensor(`gradient.${segment % 2}`, 'float32', shape);
  }

  /** Unpacks the segment's weights and makes its session at first use. */
  async #run<Kind extends 'forward' | 'backward'>(
    { firstLayer }: Segment,
    { graphs, runs }: Runnable<Readonly<Record<Kind, Uint8Array>>>,
    kind: Kind,
  ): Promise<GraphRun> {
    this.#options.base.load(firstLayer);
    runs[kind] ??= lazy(() => createGraphRun(graphs[kind], this.#options.settings));
    return runs[kind].get();
  }

  /** Unpacks the weights of the segment that comes next, while this thread has nothing to do but wait. */
  #loadMeanwhile(index: number): void {
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
      if (name.endsWith(INPUT_SUFFIX.mask)) return masks?.mask(global, this.#sizes(dims, batch));
      return base.bound(name, firstLayer) ?? this.#kept.value(index, name);
    };
  }

  #grad({ firstLayer }: Segment, name: string): OrtTensor | undefined {
    return this.#options.trained.get(shiftLayer(name, firstLayer))?.grad;
  }

  #trainingGraphs({ index, graphs }: Segment): Runnable<SegmentGraphs> {
    return this.#kept.has(index) ? graphs.keeping : graphs.recomputing;
  }

  #arrangeKept(batch: BatchShape): void {
    const trained = this.#segments.slice(this.#firstTrained);
    const valuesOf = ({ graphs }: Segment): SegmentValues =>
      new Map(graphs.keeping.graphs.kept.map(({ name, dims }) => [name, this.#sizes(dims, batch)]));
    this.#kept.arrange(
      `${batch.rows} x ${batch.length}`,
      new Map(trained.map((segment) => [segment.index, valuesOf(segment)])),
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
    this.#kept.release();
    for (const set of new Set(this.#segments.map(({ graphs }) => graphs))) {
      for (const { runs } of [set.recomputing, set.keeping, set.evaluation]) {
        for (const run of Object.values(runs)) (await run.peek())?.release();
      }
    }
  }
}

function createSegments(options: SegmentsOptions): Segment[] {
  const { config, adapters, blocksPerSegment, masks, trained } = options;
  const sets = new Map<string, GraphSet>();
  const segments: Segment[] = [];
  for (let firstLayer = 0; firstLayer < config.layerCount; firstLayer += blocksPerSegment) {
    const own = adapters.slice(firstLayer, firstLayer + blocksPerSegment);
    const key = JSON.stringify(own.map((adapter) => [...adapter]));
    let graphs = sets.get(key);
    if (!graphs) {
      graphs = createGraphSet({
        config,
        adapters: own,
        dropout: masks !== undefined,
        isTrained: (name) => trained.has(shiftLayer(name, firstLayer)),
      });
      sets.set(key, graphs);
    }
    segments.push({ index: segments.length, firstLayer, graphs });
  }
  return segments;
}

function createGraphSet(spec: Omit<SegmentSpec, 'recompute'>): GraphSet {
  const training = (recompute: boolean) => ({ ...spec, recompute });
  return {
    recomputing: { graphs: segmentGraphs(training(true)), runs: {} },
    keeping: { graphs: segmentGraphs(training(false)), runs: {} },
    evaluation: { graphs: evaluationGraph(spec), runs: {} },
  };
}
