// Runs a serving graph over a range of KV slots: fills its inputs, binds the tensors that changed, and returns the logits or
// the hidden states. Bindings are kept between runs, so a decode step that resembles the last one binds nothing.
import type { AdapterWeights } from '../../adapters/peft/weights.ts';
import { largest } from '../common/long-arrays.ts';
import type { DecoderConfig } from '../model/config.ts';
import { KV_HALVES, KV_INPUTS, type KvForm, keyFactor } from '../model/kv-attention.ts';
import { type AdapterForm, hasVectors, LORA_INPUTS } from '../model/lora-graph.ts';
import { ropeTables } from '../model/rope.ts';
import { type HeadForm, SERVING } from '../model/serving-graph.ts';
import { type Binding, RunOptions } from '../ort/binding.ts';
import { hostTensor, type OrtTensor } from '../ort/tensor.ts';
import { planGroups } from './adapters/adapter-groups.ts';
import type { AdapterSlots } from './adapters/adapter-slots.ts';
import { ChangedVocabulary } from './adapters/changed-vocabulary.ts';
import type { AdapterOperand } from './adapters/slot-block.ts';
import { type GraphLayout, type GraphSessions, layoutId } from './graph-sessions.ts';
import { GrowingTensor } from './growing-tensor.ts';
import type { KvCache, KvLayer } from './kv-cache.ts';
import type { LogitsRow } from './logits.ts';
import { hasSeveralTokens, type ModelInput, rowSlots, splitRun } from './model-input.ts';
import { HiddenOutputs, LogitsOutputs, type RowOutputs } from './row-outputs.ts';

/** The parts of a served model that a run uses. */
interface RunnerParts {
  readonly config: DecoderConfig;
  readonly sessions: GraphSessions;
  readonly cache: KvCache;
  readonly slots: AdapterSlots;
  /** Tensors that receive further outputs of the graphs, by name. */
  readonly observed?: ReadonlyMap<string, OrtTensor> | undefined;
}

/** Runs one model, one run at a time. */
export class ModelRunner {
  readonly #config: DecoderConfig;
  readonly #sessions: GraphSessions;
  readonly #cache: KvCache;
  readonly #slots: AdapterSlots;
  readonly #observed: ReadonlyMap<string, OrtTensor>;
  readonly #bound = new Map<string, BoundGraph>();
  /** The newest version of the adapter slots that may be bound. */
  #slotsVersion = 0;
  readonly #inputs = {
    inputIds: new GrowingTensor('int64'),
    batchShape: new GrowingTensor('int64'),
    seqLengths: new GrowingTensor('int32'),
    totalLength: hostTensor('int32', []),
    logitRows: new GrowingTensor('int64'),
    groupRows: new GrowingTensor('int64'),
    paddedPositions: new GrowingTensor('int64'),
    groupShape: new GrowingTensor('int64'),
    rowGroups: new GrowingTensor('int64'),
    positions: new GrowingTensor('int64'),
    cacheRows: new GrowingTensor('int64'),
  };
  readonly #runOptions = new RunOptions();
  readonly #logits: LogitsOutputs;
  readonly #hidden: HiddenOutputs;
  readonly #vocabulary: ChangedVocabulary;
  /** Cosines and sines of each rotary embedding, which also scale the scores, [maxSeq, rotaryDim / 2] each. */
  readonly #ropes: readonly { cos: OrtTensor; sin: OrtTensor }[];

  constructor(parts: RunnerParts) {
    const { config, cache } = parts;
    const { memory } = parts.sessions;
    this.#config = config;
    this.#sessions = parts.sessions;
    this.#cache = cache;
    this.#slots = parts.slots;
    this.#observed = parts.observed ?? new Map();
    this.#logits = new LogitsOutputs(config.vocabSize);
    this.#hidden = new HiddenOutputs(config.hiddenSize);
    this.#vocabulary = new ChangedVocabulary(config, parts.sessions);
    const shape = [cache.maxSeqLength, config.rotaryDim / 2];
    this.#ropes = config.ropes.map((rope) => {
      const magnitude = rope.magnitude * (cache.scales ? 1 : keyFactor(config, rope));
      const { cos, sin } = ropeTables({ ...rope, magnitude }, cache.maxSeqLength);
      return {
        cos: memory.upload(hostTensor('float32', shape, cos)),
        sin: memory.upload(hostTensor('float32', shape, sin)),
      };
    });
  }

  /** Creates the sessions that a batch with these adapters may need, so that its first run does not wait for them. */
  async prepare(form?: AdapterForm, head: HeadForm = 'logits'): Promise<void> {
    await Promise.all(this.#layoutsOf(form, head).map((layout) => this.#boundGraph(layout)));
  }

  /** Creates one missing session for adapters of one of these forms. Resolves with whether others are missing. */
  async prepareOne(forms: readonly AdapterForm[]): Promise<boolean> {
    const layouts = forms.flatMap((form) => this.#layoutsOf(form, 'logits'));
    const missing = layouts.filter((one) => !this.#bound.has(layoutId(one)));
    if (missing[0]) await this.#boundGraph(missing[0]);
    if (forms.some(({ parts }) => parts.includes('head'))) await this.#vocabulary.prepareUpdate();
    return missing.length > 1;
  }

  /** Creates the session for the head that rows of this adapter need. */
  async prepareHead(weights: AdapterWeights): Promise<void> {
    await this.#vocabulary.prepare(weights);
  }

  /** Lists the layouts of runs with adapters of this form, prompts first. */
  #layoutsOf(adapters: AdapterForm | undefined, head: HeadForm): GraphLayout[] {
    const forms = new Set([this.#kvForm(true), this.#kvForm(false)]);
    return Array.from(forms, (kv) => ({ adapters, kv, head }));
  }

  /** Returns the logits of the requested rows, in order. They are views of memory that the next run overwrites. */
  run(input: ModelInput): Promise<LogitsRow[]> {
    return this.#run(input, this.#logits);
  }

  /** Returns the outputs of the last norm, [D] for each requested row. They are also views that the next run overwrites. */
  runHidden(input: ModelInput): Promise<Float32Array[]> {
    return this.#run(input, this.#hidden);
  }

  /** Makes the current run reject with `OrtError`. The next run is unaffected. */
  terminate(): void {
    this.#runOptions.terminate();
  }

  async #run<Row>(input: ModelInput, outputs: RowOutputs<Row>): Promise<Row[]> {
    const { maxTokensPerRun } = this.#sessions.memory;
    const isShort = input.tokenIds.length <= maxTokensPerRun * input.pastLengths.length;
    if (isShort) return this.#runGraph(input, outputs);
    const found = new Map<number, Row>();
    for (const part of splitRun(input, maxTokensPerRun)) {
      const rows = await this.#runGraph(part.input, outputs);
      part.rows.forEach((row, i) => {
        found.set(row, outputs.copy(rows[i]!));
      });
    }
    return input.logitRows.map((row) => found.get(row)!);
  }

  async #runGraph<Row>(input: ModelInput, outputs: RowOutputs<Row>): Promise<Row[]> {
    this.#releaseStaleSlots();
    const { tokenIds } = input;
    const slots = rowSlots(input);
    const adapters = slots && this.#slots.form;
    const kv = this.#kvForm(hasSeveralTokens(input));
    const graph = await this.#boundGraph({ adapters, kv, head: outputs.head });
    const users = slots?.map((slot) => this.#slots.weightsIn(slot));
    const { parts } = this.#slots.form;
    const changesEmbedding = users !== undefined && parts.includes('embedding');
    const graphIds = changesEmbedding ? this.#vocabulary.graphIds(tokenIds) : tokenIds;
    this.#bindTokens(graph, { ...input, tokenIds: graphIds });
    if (graph.layout.kv === 'int8 several tokens') this.#bindPositions(graph, input);
    const { firstSlot, pastLengths } = input;
    this.#bindCache(graph, firstSlot, pastLengths.length);
    if (slots && this.#sessions.usesOwnOperators) this.#bindSlots(graph, slots);
    else if (slots) this.#bindGroups(graph, slots, hasSeveralTokens(input));
    const { length } = input.logitRows;
    const bound = outputs.at(length);
    for (const [name, tensor] of bound) graph.bindOutput(name, tensor);
    if (changesEmbedding) {
      const changed = this.#vocabulary.embeddings(tokenIds, users);
      for (const [name, tensor] of changed) graph.bindInput(name, tensor);
    }
    const changesLogits = users && parts.includes('head') && outputs.head === 'logits';
    const hidden = this.#vocabulary.hidden(length);
    if (changesLogits) graph.bindOutput(SERVING.hidden, hidden);
    this.#runOptions.reset();
    await graph.binding.run(this.#runOptions);
    this.#cache.writeBack(firstSlot, pastLengths.length);
    if (!changesLogits) return outputs.rows(length);
    const ofRows = input.logitRows.map((row) => users[row]);
    const ownRows = await this.#vocabulary.changeLogits(hidden, bound, ofRows);
    return outputs.rows(length).map((row, i) => (ownRows.get(i) as Row | undefined) ?? row);
  }

  #kvForm(hasSeveral: boolean): KvForm {
    const { type } = this.#cache;
    const isApart = type === 'int8' && hasSeveral && !this.#sessions.usesOwnOperators;
    return isApart ? 'int8 several tokens' : type;
  }

  async #boundGraph(layout: GraphLayout): Promise<BoundGraph> {
    const id = layoutId(layout);
    const known = this.#bound.get(id);
    if (known) return known;
    const session = await this.#sessions.get(layout);
    const boundMeanwhile = this.#bound.get(id);
    if (boundMeanwhile) return boundMeanwhile;
    const graph = new BoundGraph(session.createBinding(), layout);
    for (const [i, { cos, sin }] of this.#ropes.entries()) {
      graph.bindInput(SERVING.cos(i), cos);
      graph.bindInput(SERVING.sin(i), sin);
    }
    const { weightInputs } = this.#sessions;
    for (const { name } of session.inputs) {
      const weight = weightInputs.get(name);
      if (weight) graph.bindInput(name, weight);
    }
    this.#cache.scales?.forEach((scales, layer) => {
      for (const half of KV_HALVES) graph.bindInput(KV_INPUTS.scale(layer, half), scales[half]);
    });
    for (const [name, tensor] of this.#observed) graph.bindOutput(name, tensor);
    this.#bound.set(id, graph);
    return graph;
  }

  /** Releases the bindings of replaced adapter slots. A graph that never runs again would keep the old slots in memory. */
  #releaseStaleSlots(): void {
    const { version } = this.#slots;
    if (version === this.#slotsVersion) return;
    this.#slotsVersion = version;
    for (const [id, graph] of this.#bound) {
      if (!graph.layout.adapters) continue;
      graph.binding.release();
      this.#bound.delete(id);
    }
    this.#slots.releaseStale();
  }

  #bindTokens(graph: BoundGraph, { tokenIds, pastLengths, logitRows }: ModelInput): void {
    const { inputIds, batchShape, seqLengths, totalLength } = this.#inputs;
    const newTokens = tokenIds.length / pastLengths.length;
    const lengths = pastLengths.map((past) => past + newTokens - 1);
    graph.bindInput(SERVING.inputIds, inputIds.fill(tokenIds));
    graph.bindInput(SERVING.batchShape, batchShape.fill([pastLengths.length, newTokens, -1]));
    graph.bindInput(SERVING.seqLengths, seqLengths.fill(lengths));
    totalLength.data[0] = largest(lengths) + 1;
    graph.bindInput(SERVING.totalLength, totalLength);
    graph.bindInput(SERVING.logitRows, this.#inputs.logitRows.fill(logitRows));
  }

  /** Binds the positions of a sequence's new tokens, and the rows of its slot that they fill. */
  #bindPositions(graph: BoundGraph, { tokenIds, pastLengths }: ModelInput): void {
    const { kvHeadCount } = this.#config;
    const [past] = pastLengths;
    const positions = tokenIds.map((_, i) => past! + i);
    const rows: number[] = [];
    for (let head = 0; head < kvHeadCount; head++) {
      for (const position of positions) rows.push(0, head, position);
    }
    const { positions: at, cacheRows } = this.#inputs;
    graph.bindInput(KV_INPUTS.positions, at.fill(positions).view([1, positions.length]));
    const shape = [1, kvHeadCount, positions.length, 3];
    graph.bindInput(KV_INPUTS.cacheRows, cacheRows.fill(rows).view(shape));
  }

  #bindCache(graph: BoundGraph, first: number, count: number): void {
    const layers = this.#cache.range(first, count);
    if (graph.boundCache === layers && graph.binding.readsInPlace(layers[0]!.key)) return;
    graph.boundCache = undefined; // if an error ends the binding
    layers.forEach((tensors, layer) => {
      for (const half of KV_HALVES) {
        graph.bindInput(KV_INPUTS.past(layer, half), tensors[half]);
        graph.bindOutput(KV_INPUTS.present(layer, half), tensors[half]);
      }
    });
    graph.boundCache = layers;
  }

  /** Binds the operands of all slots, and the slot of each token row. */
  #bindSlots(graph: BoundGraph, slots: readonly number[]): void {
    this.#bindOperands(graph, this.#slots.all());
    graph.bindInput(LORA_INPUTS.rowGroups, this.#inputs.rowGroups.fill(slots));
  }

  /** Binds the operands of the slots that token rows use, and the groups of these rows. */
  #bindGroups(graph: BoundGraph, slots: readonly number[], isSequence: boolean): void {
    const { usedSlots, lastRangeStart, form } = this.#slots;
    const plan = planGroups(slots, usedSlots, lastRangeStart);
    this.#bindOperands(graph, this.#slots.range(plan.first, plan.groupCount));
    const { groupRows, paddedPositions, groupShape, rowGroups } = this.#inputs;
    const shape = isSequence ? [1, slots.length] : [plan.rowsPerGroup, 1];
    graph.bindInput(LORA_INPUTS.groupRows, groupRows.fill(plan.groupRows));
    graph.bindInput(LORA_INPUTS.paddedPositions, paddedPositions.fill(plan.paddedPositions));
    const [rows, tokens] = shape as [number, number];
    graph.bindInput(
      LORA_INPUTS.groupShape,
      groupShape.fill([plan.groupCount, rows, 1, tokens, -1]),
    );
    if (hasVectors(form.parts))
      graph.bindInput(LORA_INPUTS.rowGroups, rowGroups.fill(plan.rowGroups));
  }

  #bindOperands(graph: BoundGraph, operands: readonly AdapterOperand[]): void {
    if (graph.boundSlots === operands && graph.binding.readsInPlace(operands[0]!.tensor)) return;
    graph.boundSlots = undefined; // if an error ends the binding
    for (const { input, tensor } of operands) graph.bindInput(input, tensor);
    graph.boundSlots = operands;
  }
}

/** A graph's binding, which skips tensors that are bound already if runs read them in place. */
class BoundGraph {
  readonly binding: Binding;
  readonly layout: GraphLayout;
  /** The part of the cache, and the adapter slots, that are bound. Hundreds of names need not be looked up for each run. */
  boundCache: readonly KvLayer[] | undefined;
  boundSlots: readonly AdapterOperand[] | undefined;
  readonly #tensors = new Map<string, OrtTensor>();

  constructor(binding: Binding, layout: GraphLayout) {
    this.binding = binding;
    this.layout = layout;
  }

  bindInput(name: string, tensor: OrtTensor): void {
    if (this.#tensors.get(name) === tensor && this.binding.readsInPlace(tensor)) return;
    this.binding.bindInput(name, tensor);
    this.#tensors.set(name, tensor);
  }

  bindOutput(name: string, tensor: OrtTensor): void {
    if (this.#tensors.get(name) === tensor) return;
    this.binding.bindOutput(name, tensor);
    this.#tensors.set(name, tensor);
  }
}
