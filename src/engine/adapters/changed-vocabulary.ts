// The token rows of a run whose adapters change the tables of the vocabulary: their embeddings are computed before the run, and
// their logits are recomputed after it. Other rows only pay a share of the copies.
import { LRUCache } from 'lru-cache';
import type { AdapterWeights } from '../../../adapters/peft/weights.ts';
import { assert } from '../../common/assert.ts';
import { CHANGED_HEAD, type VocabularyLength } from '../../model/changed-head.ts';
import type { DecoderConfig } from '../../model/config.ts';
import { LORA_INPUTS } from '../../model/lora-graph.ts';
import { SERVING } from '../../model/serving-graph.ts';
import { changedRow, type TableChange } from '../../model/vocabulary-changes.ts';
import type { Binding } from '../../ort/binding.ts';
import type { Session } from '../../ort/session.ts';
import { hostTensor, type OrtTensor } from '../../ort/tensor.ts';
import { GrowingTensor } from '../growing-tensor.ts';
import type { LogitsRow } from '../logits.ts';
import { LogitsOutputs } from '../row-outputs.ts';

/**
 * How many outputs of adapters with their own vocabularies are kept for the next run. Outputs of 32 rows of SmolLM2 take 6 MB.
 */
const MAX_KEPT_OUTPUTS = 8;
/** A scored prompt has more rows than this, and its outputs are not kept. */
const MAX_KEPT_ROWS = 32;

/** The sessions that recompute logits, by the kinds of changes. */
interface HeadSessions {
  changedHead(kinds: readonly TableChange['kind'][], length: VocabularyLength): Promise<Session>;
}

/** A tensor and its name in a graph. */
type Named = readonly [name: string, tensor: OrtTensor];

/** Computes the changed embeddings and logits of one model's runs. */
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
  /** The outputs of adapters with their own vocabularies, whose rows have other lengths, by digest. */
  readonly #ownOutputs = new LRUCache<string, LogitsOutputs>({ max: MAX_KEPT_OUTPUTS });

  constructor(config: DecoderConfig, sessions: HeadSessions) {
    this.#config = config;
    this.#sessions = sessions;
    this.#added = new GrowingTensor('float32', config.hiddenSize);
    this.#hidden = new GrowingTensor('float32', config.hiddenSize);
    this.#outputs = new LogitsOutputs(config.vocabSize);
  }

  /** Creates the session that the adapter's rows need. */
  async prepare(weights: AdapterWeights): Promise<void> {
    if (changesHead(weights)) await this.#sessionOf(weights);
  }

  /** Creates the session that rows of LoRA on the head need. */
  async prepareUpdate(): Promise<void> {
    await this.#sessions.changedHead(['update'], 'same');
  }

  #sessionOf(weights: AdapterWeights): Promise<Session> {
    const { head, own } = weights.vocabulary;
    const { vocabSize } = this.#config;
    const added = (own?.size ?? vocabSize) - vocabSize;
    const length = added === 0 ? 'same' : added > 0 ? 'longer' : 'shorter';
    return this.#sessions.changedHead(
      head.map(({ kind }) => kind),
      length,
    );
  }

  /** Returns the token ids that the graph looks up. It has no rows for tokens that the base lacks. */
  graphIds(tokenIds: readonly number[]): readonly number[] {
    return tokenIds.map((id) => (id < this.#config.vocabSize ? id : 0));
  }

  /** The inputs of a graph for tokens and the adapter of each. */
  embeddings(
    tokenIds: readonly number[],
    users: readonly (AdapterWeights | undefined)[],
  ): readonly Named[] {
    const { hiddenSize, vocabSize } = this.#config;
    const keep = this.#keep.at(tokenIds.length);
    const added = this.#added.at(tokenIds.length);
    const { data } = added;
    tokenIds.forEach((id, row) => {
      const { embedding = [], own } = users[row]?.vocabulary ?? {};
      const into = data.subarray(row * hiddenSize, (row + 1) * hiddenSize);
      if (id < vocabSize) {
        keep.data[row] = changedRow(embedding, id, into);
        return;
      }
      assert(own && id < own.size, 'only rows of an adapter have its tokens');
      const from = (id - vocabSize) * hiddenSize;
      into.set(own.embedding.subarray(from, from + hiddenSize));
      keep.data[row] = 0;
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

  /**
   * Replaces the logits, and what was found in them, of the requested rows whose adapter changes the output head. Returns the
   * rows of adapters with their own vocabularies, which do not fit the outputs. They are views that the next run overwrites.
   */
  async changeLogits(
    hidden: OrtTensor,
    outputs: readonly Named[],
    users: readonly (AdapterWeights | undefined)[],
  ): Promise<Map<number, LogitsRow>> {
    const ownRows = new Map<number, LogitsRow>();
    const changing = users.filter((weights) => weights && changesHead(weights));
    for (const weights of new Set(changing as AdapterWeights[])) {
      const rows = users.flatMap((user, row) => (user === weights ? [row] : []));
      const session = await this.#sessionOf(weights);
      const binding = this.#bindings.get(session) ?? session.createBinding();
      this.#bindings.set(session, binding);
      binding.bindInput(CHANGED_HEAD.hidden, hidden);
      binding.bindInput(CHANGED_HEAD.logits, new Map(outputs).get(SERVING.logits)!);
      binding.bindInput(CHANGED_HEAD.rows, this.#rows.fill(rows));
      for (const [name, tensor] of this.#tensorsOf(weights)) binding.bindInput(name, tensor);
      const results = this.#outputsOf(weights, rows.length);
      const changed = results.at(rows.length);
      for (const [name, tensor] of changed) binding.bindOutput(name, tensor);
      await binding.run();
      if (weights.vocabulary.own) {
        results.rows(rows.length).forEach((row, i) => {
          ownRows.set(rows[i]!, row);
        });
        continue;
      }
      outputs.forEach(([, tensor], i) => {
        copyRows(changed[i]![1], tensor, rows);
      });
    }
    return ownRows;
  }

  #outputsOf(weights: AdapterWeights, count: number): LogitsOutputs {
    const { own } = weights.vocabulary;
    if (!own) return this.#outputs;
    if (count > MAX_KEPT_ROWS) return new LogitsOutputs(own.size);
    const kept = this.#ownOutputs.get(weights.digest) ?? new LogitsOutputs(own.size);
    this.#ownOutputs.set(weights.digest, kept);
    return kept;
  }

  #tensorsOf(weights: AdapterWeights): readonly Named[] {
    const known = this.#tensors.get(weights);
    if (known) return known;
    const { hiddenSize, vocabSize } = this.#config;
    const { own } = weights.vocabulary;
    const common = Math.min(vocabSize, own?.size ?? vocabSize);
    const tensors = weights.vocabulary.head.flatMap((change, i): Named[] => {
      const weight = floats([1], Float32Array.of(change.weight));
      const named: Named[] = [[CHANGED_HEAD.weight(i), weight]];
      if (change.kind === 'update') {
        named.push([CHANGED_HEAD.a(i), floats([common, change.rank], change.a)]);
        named.push([CHANGED_HEAD.b(i), floats([change.rank, hiddenSize], change.b)]);
        return named;
      }
      const count = change.rows.length / hiddenSize;
      named.push([CHANGED_HEAD.tableRows(i), floats([count, hiddenSize], change.rows)]);
      if (change.kind === 'whole') return named;
      const ids = BigInt64Array.from(change.ids, BigInt);
      return [...named, [CHANGED_HEAD.ids(i), hostTensor('int64', [count], ids)]];
    });
    if (own && own.size > vocabSize) {
      const added = floats([own.size - vocabSize, hiddenSize], own.head);
      tensors.push([CHANGED_HEAD.added, added]);
    } else if (own) {
      const size = hostTensor('int64', [1], BigInt64Array.of(BigInt(own.size)));
      tensors.push([CHANGED_HEAD.size, size]);
    }
    this.#tensors.set(weights, tensors);
    return tensors;
  }
}

function changesHead({ vocabulary }: AdapterWeights): boolean {
  return vocabulary.own !== undefined || vocabulary.head.length > 0;
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
