// Runs a serving graph over a range of KV slots: fills its inputs, binds what has changed, gives the logits.
// Bindings are kept between runs: a decode step like the last one binds nothing.
import type { DecoderConfig } from '../model/config.ts';
import { LORA_INPUTS, type LoraLayout } from '../model/lora-graph.ts';
import { ropeTables } from '../model/rope.ts';
import { SERVING } from '../model/serving-graph.ts';
import type { Binding } from '../ort/binding.ts';
import { hostTensor, type OrtTensor } from '../ort/tensor.ts';
import type { AdapterSlots } from './adapter-slots.ts';
import { type GraphSessions, layoutId } from './graph-sessions.ts';
import type { KvCache } from './kv-cache.ts';
import type { LogitsRow } from './logits.ts';
import type { LoraInput, ModelInput } from './model-input.ts';
import { copyRow, splitRun } from './pieces.ts';
import { GrowingTensor, LogitsOutputs } from './run-tensors.ts';

export interface RunnerParts {
  readonly config: DecoderConfig;
  readonly sessions: GraphSessions;
  readonly cache: KvCache;
  readonly slots: AdapterSlots;
}

export class ModelRunner {
  readonly #sessions: GraphSessions;
  readonly #cache: KvCache;
  readonly #slots: AdapterSlots;
  readonly #bound = new Map<string, BoundGraph>();
  /** That of the adapter slots that may be bound. */
  #slotsVersion = 0;
  readonly #inputs = {
    inputIds: new GrowingTensor('int64'),
    batchShape: new GrowingTensor('int64'),
    seqLengths: new GrowingTensor('int32'),
    totalLength: hostTensor('int32', []),
    logitRows: new GrowingTensor('int64'),
    groupRows: new GrowingTensor('int64'),
    rowPlaces: new GrowingTensor('int64'),
    groupShape: new GrowingTensor('int64'),
  };
  readonly #outputs: LogitsOutputs;

  readonly #rope: { cos: OrtTensor; sin: OrtTensor };

  constructor(parts: RunnerParts) {
    const { config, cache } = parts;
    const { memory } = parts.sessions;
    this.#sessions = parts.sessions;
    this.#cache = cache;
    this.#slots = parts.slots;
    this.#outputs = new LogitsOutputs(config.vocabSize);
    const { cos, sin } = ropeTables(config, cache.maxSeqLength);
    const shape = [cache.maxSeqLength, config.headDim / 2];
    this.#rope = {
      cos: memory.place(hostTensor('float32', shape, cos)),
      sin: memory.place(hostTensor('float32', shape, sin)),
    };
  }

  /** Makes the session of a layout, so that the first run with it does not wait. */
  async prepare(layout: LoraLayout): Promise<void> {
    await this.#boundGraph(layout);
  }

  /** The logits of the rows asked, in their order: views of memory that the next run overwrites. */
  async run(input: ModelInput): Promise<LogitsRow[]> {
    const { longestRun } = this.#sessions.memory;
    const isShort = input.tokenIds.length <= longestRun * input.pastLengths.length;
    return isShort ? this.#runWhole(input) : this.#runInPieces(input, longestRun);
  }

  async #runInPieces(input: ModelInput, longest: number): Promise<LogitsRow[]> {
    const found = new Map<number, LogitsRow>();
    for (const piece of splitRun(input, longest)) {
      const logits = await this.#runWhole(piece.input);
      piece.rows.forEach((row, i) => {
        found.set(row, copyRow(logits[i]!));
      });
    }
    return input.logitRows.map((row) => found.get(row)!);
  }

  async #runWhole(input: ModelInput): Promise<LogitsRow[]> {
    this.#letGoOfStaleSlots();
    const graph = await this.#boundGraph(this.#layout(input.lora));
    this.#bindTokens(graph, input);
    const { firstSlot, pastLengths, lora } = input;
    this.#bindCache(graph, firstSlot, pastLengths.length);
    if (lora.kind !== 'none') this.#bindAdapters(graph, lora);
    const outputs = this.#outputs.at(input.logitRows.length);
    for (const [name, tensor] of outputs) graph.bindOutput(name, tensor);
    await graph.binding.run();
    this.#cache.keep(firstSlot, pastLengths.length);
    return this.#outputs.rows(input.logitRows.length);
  }

  #layout({ kind }: LoraInput): LoraLayout {
    return kind === 'none' ? { kind } : { kind, targets: this.#slots.targets };
  }

  async #boundGraph(layout: LoraLayout): Promise<BoundGraph> {
    const id = layoutId(layout);
    const known = this.#bound.get(id);
    if (known) return known;
    const session = await this.#sessions.get(layout);
    const madeMeanwhile = this.#bound.get(id);
    if (madeMeanwhile) return madeMeanwhile;
    const graph = new BoundGraph(session.createBinding());
    graph.bindInput(SERVING.cos, this.#rope.cos);
    graph.bindInput(SERVING.sin, this.#rope.sin);
    for (const [name, weight] of this.#sessions.weightInputs) graph.bindInput(name, weight);
    this.#bound.set(id, graph);
    return graph;
  }

  /** Slots that were made anew: a graph that is not run again soon would keep the old ones in memory. */
  #letGoOfStaleSlots(): void {
    const { version } = this.#slots;
    if (version === this.#slotsVersion) return;
    this.#slotsVersion = version;
    const none = layoutId({ kind: 'none' });
    for (const [id, graph] of this.#bound) {
      if (id === none) continue;
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
    totalLength.data[0] = Math.max(...lengths) + 1;
    graph.bindInput(SERVING.totalLength, totalLength);
    graph.bindInput(SERVING.logitRows, this.#inputs.logitRows.fill(logitRows));
  }

  #bindCache(graph: BoundGraph, first: number, count: number): void {
    this.#cache.range(first, count).forEach(({ key, value }, layer) => {
      for (const [half, tensor] of [
        ['key', key],
        ['value', value],
      ] as const) {
        graph.bindInput(SERVING.past(layer, half), tensor);
        graph.bindOutput(SERVING.present(layer, half), tensor);
      }
    });
  }

  #bindAdapters(graph: BoundGraph, lora: Exclude<LoraInput, { kind: 'none' }>): void {
    const [first, count] =
      lora.kind === 'single' ? [lora.slot, 1] : [lora.plan.first, lora.plan.groupCount];
    for (const { tensor, layer, of } of this.#slots.range(first, count)) {
      const name = 'a' in of ? LORA_INPUTS.a(layer, of.a) : LORA_INPUTS.b(layer, of.b);
      graph.bindInput(name, tensor);
    }
    if (lora.kind === 'single') return;
    const { groupRows, rowPlaces, groupShape } = this.#inputs;
    const { plan } = lora;
    graph.bindInput(LORA_INPUTS.groupRows, groupRows.fill(plan.groupRows));
    graph.bindInput(LORA_INPUTS.rowPlaces, rowPlaces.fill(plan.rowPlaces));
    graph.bindInput(
      LORA_INPUTS.groupShape,
      groupShape.fill([plan.groupCount, plan.rowsPerGroup, -1]),
    );
  }
}

/** A binding that remembers what is bound, so that binding again what runs read in place costs a look-up. */
class BoundGraph {
  readonly binding: Binding;
  readonly #tensors = new Map<string, OrtTensor>();

  constructor(binding: Binding) {
    this.binding = binding;
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
