// The base's weights for the reader of adapters. They come from the artifact and have the values that adapters were trained on,
// independent of the form in which the base is served.
import type { AdaptedBase } from '../../adapters/peft/outputs.ts';
import type { LoraPair } from '../../adapters/peft/weights.ts';
import { lazy } from '../common/lazy.ts';
import { type Matrix, toFloat32 } from '../common/tensor.ts';
import { type Artifact, denseValues, readArtifact, readLinear } from '../import/artifact.ts';
import { GraphBuilder } from '../onnx/graph-builder.ts';
import { createSession } from '../ort/session.ts';
import { hostTensor } from '../ort/tensor.ts';

/** Returns the weights of an open artifact. */
export function adaptedBaseOf(artifact: Pick<Artifact, 'tensors'>): Required<AdaptedBase> {
  return {
    async rowNorms(module, update) {
      const linear = readLinear(artifact, module);
      return rowNorms({ ...linear, values: denseValues(linear) }, update);
    },
    vector: async (name) => toFloat32(artifact.tensors.read(name)),
    table: async (name) => artifact.tensors.read(name),
  };
}

/** Returns the weights for training and merging, which refuse adapters with a resized vocabulary. */
export function trainableBaseOf(artifact: Pick<Artifact, 'tensors'>): AdaptedBase {
  const { table: _, ...base } = adaptedBaseOf(artifact);
  return base;
}

/**
 * Returns the weights of the artifact in a folder. The first adapter that needs them opens the artifact, which then stays open.
 */
export function adaptedBaseIn(dir: string): AdaptedBase {
  const weights = lazy(async () => adaptedBaseOf(readArtifact(dir)));
  return {
    rowNorms: async (module, update) => (await weights.get()).rowNorms(module, update),
    vector: async (name) => (await weights.get()).vector(name),
    table: async (name) => (await weights.get()).table(name),
  };
}

// Computes the norms of the rows of an adapted weight, W + B A, for DoRA. The runtime does the work: 135M weights with rank 16
// are two billion multiplications.

type Floats = Float32Array<ArrayBuffer>;

const normSession = lazy(() => createSession(normGraph(), { sharesThreads: true }));

/** Returns the norms [out] of the rows of W + B A, for W [out, in], B [out, rank] and A [rank, in]. */
async function rowNorms(weight: Matrix, update: LoraPair): Promise<Float32Array> {
  const { rows, cols } = weight;
  const { rank } = update;
  const norms = hostTensor('float32', [rows]);
  using binding = (await normSession.get()).createBinding();
  binding.bindInput('w', hostTensor('float32', [rows, cols], weight.values as Floats));
  binding.bindInput('a', hostTensor('float32', [rank, cols], update.a as Floats));
  binding.bindInput('b', hostTensor('float32', [rows, rank], update.b as Floats));
  binding.bindOutput('norms', norms);
  await binding.run();
  return norms.data;
}

function normGraph(): Uint8Array {
  const g = new GraphBuilder();
  const w = g.input('w', 'float32', ['out', 'in']);
  const a = g.input('a', 'float32', ['rank', 'in']);
  const b = g.input('b', 'float32', ['out', 'rank']);
  const sum = g.node('Gemm', [b, a, w]);
  const options = { outputs: ['norms'] };
  const [norms] = g.nodeWithOutputs('ReduceL2', [sum, g.int64([1])], { keepdims: 0 }, options);
  g.output(norms!, 'float32', ['out']);
  return g.toBytes();
}
