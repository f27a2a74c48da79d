// The rows of a run whose adapters change the tables of the vocabulary: their embeddings are computed before the run, their logits
// again after it. Other rows cost nothing but a share of the copies.
import type { AdapterWeights } from '../../../adapters/peft/weights.ts';
import { CHANGED_HEAD } from '../../model/changed-head.ts';
import type { DecoderConfig } from '../../model/config.ts';
import { LORA_INPUTS } from '../../model/lora-graph.ts';
import { SERVING } from '../../model/serving-graph.ts';
import { changedRow, type TableChange } from '../../model/vocabulary-changes.ts';
import type { Binding } from '../../ort/binding.ts';
import type { Session } from '../../ort/session.ts';
import { hostTensor, type OrtTensor } from '../../ort/tensor.ts';
import { GrowingTensor } from '../growing-tensor.ts';
import { LogitsOutputs } from '../row-outputs.ts';

/** The sessions that recompute logits, by the kinds of changes. */
export interface HeadSessions {
  changedHead(kinds: readonly TableChange['kind'][]): Promise<Session>;
}

/** A tensor and its name in a graph. */
type Named = readonly [name: string, tensor: OrtTensor];

/** The changed embeddings and logits of one model's runs. */
export class ChangedVocabulary {
  readonly #config: DecoderConfig;
  readonly #sessions: HeadSessions;
  readonly #keep = new GrowingTensor('float32', 1);
  readonly #added: GrowingTensor<'float32'>;
  readonly #hidden: GrowingTensor<'float32'>;
  readonly #rows = new GrowingTensor('int64');
  readonly #outputs: LogitsOutputs;
  readonly #bindings = new WeakMap<Session, Binding>();
  readonly #tensors = new WeakMap<AdapterWeights, readonly Named[]>();

  constructor(config: DecoderConfig, sessions: HeadSessions) {
    this.#config = config;
    this.#sessions = sessions;
    this.#added = new GrowingTensor('float32', config.hiddenSize);
    this.#hidden = new GrowingTensor('float32', config.hiddenSize);
    this.#outputs = new LogitsOutputs(config.vocabSize);
  }

  /** Creates the session that the adapter's rows need. */
  async prepare(weights: AdapterWeights): Promise<void> {
    if (weights.vocabulary.head.length > 0) await this.#sessions.changedHead(kindsOf(weights));
  }

  /** The inputs of a graph for tokens and the adapter of each. */
  embeddings(
    tokenIds: readonly number[],
    users: readonly (AdapterWeights | undefined)[],
  ): readonly Named[] {
    const { hiddenSize } = this.#config;
    const keep = this.#keep.at(tokenIds.length);
    const added = this.#added.at(tokenIds.length);
    const { data } = added;
    tokenIds.forEach((id, row) => {
      const changes = users[row]?.vocabulary.embedding ?? [];
      const into = data.subarray(row * hiddenSize, (row + 1) * hiddenSize);
      keep.data[row] = changedRow(changes, id, into);
    });
    return [
      [LORA_INPUTS.embeddingKeep, keep],
      [LORA_INPUTS.embeddingAdded, added],
    ];
  }

  /** The tensor for the hidden states of `count` requested rows. */
  hidden(count: number): OrtTensor<'float32'> {
    return this.#hidden.at(count);
  }

  /** Replaces the logits, and what was found in them, of the requested rows whose adapter changes the head. */
  async changeLogits(
    hidden: OrtTensor,
    outputs: readonly Named[],
    users: readonly (AdapterWeights | undefined)[],
  ): Promise<void> {
    const changing = users.filter((weights) => weights && weights.vocabulary.head.length > 0);
    for (const weights of new Set(changing as AdapterWeights[])) {
      const rows = users.flatMap((user, row) => (user === weights ? [row] : []));
      const session = await this.#sessions.changedHead(kindsOf(weights));
      const binding = this.#bindings.get(session) ?? session.createBinding();
      this.#bindings.set(session, binding);
      binding.bindInput(CHANGED_HEAD.hidden, hidden);
      binding.bindInput(CHANGED_HEAD.logits, new Map(outputs).get(SERVING.logits)!);
      binding.bindInput(CHANGED_HEAD.rows, this.#rows.fill(rows));
      for (const [name, tensor] of this.#tensorsOf(weights)) binding.bindInput(name, tensor);
      const changed = this.#outputs.at(rows.length);
      for (const [name, tensor] of changed) binding.bindOutput(name, tensor);
      await binding.run();
      outputs.forEach(([, tensor], i) => {
        copyRows(changed[i]![1], tensor, rows);
      });
    }
  }

  #tensorsOf(weights: AdapterWeights): readonly Named[] {
    const known = this.#tensors.get(weights);
    if (known) return known;
    const { hiddenSize, vocabSize } = this.#config;
    const tensors = weights.vocabulary.head.flatMap((change, i): Named[] => {
      const weight = floats([1], Float32Array.of(change.weight));
      const named: Named[] = [[CHANGED_HEAD.weight(i), weight]];
      if (change.kind === 'update') {
        named.push([CHANGED_HEAD.a(i), floats([vocabSize, change.rank], change.a)]);
        named.push([CHANGED_HEAD.b(i), floats([change.rank, hiddenSize], change.b)]);
        return named;
      }
      const count = change.rows.length / hiddenSize;
      named.push([CHANGED_HEAD.tableRows(i), floats([count, hiddenSize], change.rows)]);
      if (change.kind === 'whole') return named;
      const ids = BigInt64Array.from(change.ids, BigInt);
      return [...named, [CHANGED_HEAD.ids(i), hostTensor('int64', [count], ids)]];
    });
    this.#tensors.set(weights, tensors);
    return tensors;
  }
}

function kindsOf({ vocabulary }: AdapterWeights): TableChange['kind'][] {
  return vocabulary.head.map(({ kind }) => kind);
}

function floats(shape: readonly number[], values: Float32Array): OrtTensor<'float32'> {
  return hostTensor('float32', shape, values as Float32Array<ArrayBuffer>);
}

/** Copies the i-th row of a tensor to row `rows[i]` of another. */
function copyRows(from: OrtTensor, to: OrtTensor, rows: readonly number[]): void {
  const source = from.data as Float32Array;
  const target = to.data as Float32Array;
  const width = source.length / rows.length;
  rows.forEach((row, i) => {
    target.set(source.subarray(i * width, (i + 1) * width), row * width);
  });
}
