// The graph that recomputes the logits of rows whose adapter changes the output head, from the hidden states and logits of a
// serving run. It uses no weights of the base. n = these rows, L = the run's requested rows, D = hidden size, V = vocabulary.
import { GraphBuilder, type Value } from '../onnx/graph-builder.ts';
import type { DecoderConfig } from './config.ts';
import { SERVING } from './serving-graph.ts';
import { scaled } from './shared-nodes.ts';
import { addTopLogits } from './top-logits.ts';
import type { TableChange } from './vocabulary-changes.ts';

/** The names of the inputs. The outputs have a serving graph's names, for n rows. */
export const CHANGED_HEAD = {
  /** float32 [L, D] */
  hidden: SERVING.hidden,
  /** float32 [L, V] */
  logits: 'base_logits',
  /** int64 [n] */
  rows: 'rows',
  /** float32 [1], for the i-th change */
  weight: (i: number) => `weight.${i}`,
  /** float32 [V, D] or [ids, D] */
  tableRows: (i: number) => `table_rows.${i}`,
  /** int64 [ids] */
  ids: (i: number) => `ids.${i}`,
  /** float32 [V, rank] and [rank, D] */
  a: (i: number) => `a.${i}`,
  b: (i: number) => `b.${i}`,
  /** float32 [new tokens, D] */
  added: 'added',
  /** int64 [1]: the number of remaining tokens */
  size: 'size',
} as const;

/** Whether an adapter's vocabulary is longer or shorter than the base's. */
export type VocabularyLength = 'same' | 'longer' | 'shorter';

/** Returns the graph for a list of changes of these kinds. V is the smaller of the two vocabularies. */
export function changedHeadGraph(
  { vocabSize, hiddenSize, logitsScale }: DecoderConfig,
  kinds: readonly TableChange['kind'][],
  length: VocabularyLength,
): Uint8Array {
  const common = length === 'shorter' ? 'common' : vocabSize;
  const g = new GraphBuilder();
  const rows = g.input(CHANGED_HEAD.rows, 'int64', ['n']);
  const ofRows = (name: string, width: number) =>
    g.node('Gather', [g.input(name, 'float32', ['logit_rows', width]), rows], { axis: 0 });
  const hidden = scaled(g, ofRows(CHANGED_HEAD.hidden, hiddenSize), logitsScale, 'float32');
  const whole = ofRows(CHANGED_HEAD.logits, vocabSize);
  const base =
    length === 'shorter'
      ? g.node('Slice', [
          whole,
          g.int64([0]),
          g.input(CHANGED_HEAD.size, 'int64', [1]),
          g.int64([1]),
        ])
      : whole;
  const times = (x: Value, matrix: Value) => g.node('Gemm', [x, matrix], { transB: 1 });
  const changes = kinds.map((kind, i) => {
    const weight = g.input(CHANGED_HEAD.weight(i), 'float32', [1]);
    if (kind === 'update') {
      const a = g.input(CHANGED_HEAD.a(i), 'float32', [common, `rank_${i}`]);
      const b = g.input(CHANGED_HEAD.b(i), 'float32', [`rank_${i}`, hiddenSize]);
      return g.node('Mul', [times(times(hidden, b), a), weight]);
    }
    const count = kind === 'whole' ? common : `ids_${i}`;
    const table = g.input(CHANGED_HEAD.tableRows(i), 'float32', [count, hiddenSize]);
    const product = times(hidden, table);
    if (kind === 'whole') return g.node('Mul', [g.node('Sub', [product, base]), weight]);
    const ids = g.input(CHANGED_HEAD.ids(i), 'int64', [count]);
    const own = g.node('Gather', [base, ids], { axis: 1 });
    const change = g.node('Mul', [g.node('Sub', [product, own]), weight]); // [n, ids]
    const places = g.node('Expand', [ids, g.node('Shape', [change])]);
    const zeros = g.node('Mul', [base, g.float(0)]);
    return g.node('ScatterElements', [zeros, places, change], { axis: 1 });
  });
  const named = { outputs: [SERVING.logits] };
  const [logits] =
    length === 'longer'
      ? g.nodeWithOutputs(
          'Concat',
          [
            g.node('Sum', [base, ...changes]),
            times(hidden, g.input(CHANGED_HEAD.added, 'float32', ['added', hiddenSize])),
          ],
          { axis: 1 },
          named,
        )
      : g.nodeWithOutputs('Sum', [base, ...changes], {}, named);
  g.output(logits!, 'float32', ['n', length === 'same' ? vocabSize : 'vocabulary']);
  addTopLogits(g, logits!, vocabSize);
  return g.toBytes();
}
