// Checks that this processor multiplies 8-bit integers exactly. Without VNNI or AMX, the runtime's kernel may saturate.
import { ConfigError } from '../../src/common/errors.ts';
import { quantizeRows, rowProduct } from '../../src/model/row-product.ts';
import { GraphBuilder } from '../../src/onnx/graph-builder.ts';
import { createSessionSync } from '../../src/ort/session.ts';
import { hostTensor } from '../../src/ort/tensor.ts';
import { rowInt8Input } from '../graph/row-int8.ts';

/** The size of the product. A saturating kernel already fails with two inputs. */
const [TOKENS, WIDTH, OUT] = [4, 64, 32];
const LARGEST = 127;

/** @throws ConfigError if 8-bit products are not exact */
export function checkInt8Products(): void {
  if (hasExactInt8Products()) return;
  throw new ConfigError([
    'compute: int8 needs a processor with VNNI or AMX, because 8-bit products are not exact on this one. Use float32.',
  ]);
}

let isExact: boolean | undefined;

/** Returns whether a product of the largest values is exact. Multiplies them once. */
export function hasExactInt8Products(): boolean {
  isExact ??= multipliesExactly();
  return isExact;
}

function multipliesExactly(): boolean {
  const g = new GraphBuilder();
  const x = g.input('x', 'float32', [TOKENS, WIDTH]);
  const weight = rowInt8Input(g, 'w', [OUT, WIDTH]);
  const y = rowProduct(g, quantizeRows(g, x), weight);
  g.output(y, 'float32', [TOKENS, OUT]);
  using session = createSessionSync(g.toBytes(), { intraOpThreads: 1 });
  using binding = session.createBinding();
  using input = hostTensor('float32', [TOKENS, WIDTH]);
  using output = hostTensor('float32', [TOKENS, OUT]);
  const [data, scales] = session.inputs.slice(1).map(({ name }) => name) as [string, string];
  binding.bindInput('x', input);
  binding.bindInput(data, filled('int8', [WIDTH, OUT], LARGEST));
  binding.bindInput(scales, filled('float32', [OUT], 1));
  binding.bindOutput(y, output);
  input.data.fill(LARGEST);
  binding.runSync();
  return output.data.every((value) => value === WIDTH * LARGEST * LARGEST);
}

function filled<T extends 'int8' | 'float32'>(type: T, shape: readonly number[], value: number) {
  const tensor = hostTensor(type, shape);
  tensor.data.fill(value);
  return tensor;
}
