// A model in training: embeds a micro-batch, and runs it forward and backward through the segments and the loss head. Graphs,
// memory and weights are in `graph/` and `step/`.
import { assert } from '../src/common/assert.ts';
import { largest } from '../src/common/long-arrays.ts';
import type { Artifact } from '../src/import/artifact.ts';
import { TARGET_MODULES, targetNames } from '../src/model/target-modules.ts';
import { blockAdapter } from './adapter/tensors.ts';
import { lossHeadOf } from './graph/loss-head-graph.ts';
import type { BlockAdapter } from './graph/training-lowering.ts';
import { BaseWeights } from './step/base-weights.ts';
import { BatchInputs } from './step/batch-inputs.ts';
import { DropoutMasks } from './step/dropout-masks.ts';
import { Embedding } from './step/embedding.ts';
import { LossHead } from './step/loss-head.ts';
import { adapterParameters, fullParameters, trainingBytes } from './step/parameters.ts';
import { savedLimit } from './step/saved-activations.ts';
import { type BatchShape, Segments } from './step/segments.ts';
import { Workspace } from './step/workspace.ts';
import type { Compute, LoraSettings, MicroBatch, ProbedModel, TrainMethod } from './types.ts';

/** How a model is trained: method, adapter, arithmetic and memory. */
export interface TrainModelOptions {
  readonly method: TrainMethod;
  /** Required for `lora` and `qlora`. */
  readonly adapter: LoraSettings | undefined;
  /** The base's weights, which models with the same head can share. Absent: the model reads its own. */
  readonly base?: BaseWeights;
  /** The probability that an element of a LoRA input is dropped. */
  readonly dropout: number;
  readonly compute: Compute;
  /** Activation checkpointing: the backward pass recomputes each block instead of reading saved tensors. */
  readonly recompute: boolean;
  /** The most bytes of tensors that are saved even with `recompute`. At most a share of the bytes of weights and gradients. */
  readonly savedBytes?: number | undefined;
  /** Decoder blocks per graph. */
  readonly blocksPerSegment: number;
  /** Threads of one operator; undefined: one per core. */
  readonly threads: number | undefined;
  readonly seed: number;
  /** Called with the number of the base's tensors that have been read. */
  readonly onRead?: ((done: number, total: number) => void) | undefined;
  /** Called during the passes of a micro-batch, with how many of their segments have run. */
  readonly onSegment?: ((done: number, total: number) => void) | undefined;
}

/** A model that also returns its logits, for tests against other implementations. */
export interface InspectableModel extends ProbedModel {
  /** Returns logits [N*T, V or classes], without dropout. */
  logits(batch: MicroBatch): Promise<Float32Array>;
}

/**
 * Reads the weights into memory and builds the graphs. The artifact must stay open, because rows of its embedding may be read later.
 * @throws FileError if the adapter's initial weights do not fit its settings
 */
export function createTrainModel(artifact: Artifact, options: TrainModelOptions): InspectableModel {
  const { config } = artifact;
  const { method, adapter, dropout, recompute, blocksPerSegment, threads, seed, compute } = options;
  assert((method === 'full') === (adapter === undefined), `${method}: only LoRA has an adapter`);
  assert(method !== 'full' || compute === 'float32', 'full: trains float32 weights');
  const workspace = new Workspace();
  const spec = lossHeadOf(config, compute, adapter);
  const { onRead, onSegment } = options;
  const form = { blocksPerSegment, compute };
  const { base = new BaseWeights(artifact, { ...form, head: spec, onRead }) } = options;
  const trained = adapter
    ? adapterParameters({ artifact, base }, adapter)
    : fullParameters(config, base);
  const embedding = new Embedding({ config, base, trained, adapter });
  const adapters: BlockAdapter[] = Array.from({ length: config.layerCount }, (_, layer) =>
    adapter ? blockAdapter(adapter, layer) : new Map(),
  );
  const masks = dropout > 0 ? new DropoutMasks({ rate: dropout, seed }, workspace) : undefined;
  const inputs = new BatchInputs(config, workspace, adapter?.invocation);
  const shared = { settings: { threads }, workspace, trained };
  const saving = { ...form, method, recompute, savedBytes: options.savedBytes };
  const savedBytes = savedLimit(config, saving, trainingBytes(trained));
  const blocks = { config, compute, base, adapters, masks, savedBytes, blocksPerSegment };
  const trainsEmbedding = embedding.isTrained;
  const segments = new Segments({ ...shared, ...blocks, trainsEmbedding, onSegment });
  const head = new LossHead({
    ...shared,
    spec,
    weight: (name) => trained.get(name)?.value ?? base.unpacked(name),
  });
  const widest = largest(
    targetNames(config).map((name) => TARGET_MODULES[name].inFeatures(config)),
  );
  let dropoutStep = { step: 0, microBatch: 0 };

  /** Binds the batch's inputs and embeds its tokens. */
  function begin(batch: MicroBatch): BatchShape {
    const shape = { rows: batch.rows, length: batch.length, inputs: inputs.fill(batch) };
    embedding.lookUp(batch.inputIds, segments.hidden(shape, 0).data);
    return shape;
  }

  return {
    parameters: Array.from(trained.values(), ({ parameter }) => parameter),

    setDropoutStep(step, microBatch) {
      dropoutStep = { step, microBatch };
    },

    async accumulate(batch, weigh) {
      const shape = begin(batch);
      const { step, microBatch } = dropoutStep;
      masks?.draw(step, microBatch, batch.rows * batch.length * widest);
      const hidden = await segments.forward(shape);
      const sums = await head.accumulate(batch, hidden, {
        gradient: segments.lastGradient(shape),
        weigh,
      });
      const gradient = await segments.backward(shape);
      embedding.accumulate(batch.inputIds, gradient.data);
      return sums;
    },

    async evaluate(batch) {
      return head.evaluate(batch, await segments.evaluate(begin(batch)));
    },

    async score(batch) {
      return head.score(batch, await segments.evaluate(begin(batch)));
    },

    async predict(batch) {
      return head.predict(batch, await segments.evaluate(begin(batch)));
    },

    async logits(batch) {
      return head.logits(await segments.evaluate(begin(batch)));
    },

    async release() {
      await segments.release();
      await head.release();
      inputs.release();
      workspace.release();
    },
  };
}
