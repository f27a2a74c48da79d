// Low-bit weights, several per 32-bit word, with a scale and a zero point per group of inputs: AWQ, GPTQ, and
// compressed-tensors' pack-quantized. A weight is (code - zero point) * scale.
import { FileError } from '../../common/errors.ts';
import type { TensorSource } from '../../common/tensor.ts';
import {
  expectInfo,
  expectMatrix,
  type PackedForm,
  readScales,
  readWords,
  SCALE_DTYPES,
} from './packed-form.ts';

const WORD_BITS = 32;
const AWQ_BITS = 4;
/** The place in a word of each of its eight outputs, from the lowest bits up. */
const AWQ_PLACES = [0, 4, 1, 5, 2, 6, 3, 7] as const;
const AWQ_PER_WORD = AWQ_PLACES.length;

/** AWQ's GEMM layout: words along the outputs, qweight [in, out / 8]. `groupSize` is undefined for a single group. */
export function awqForm(groupSize: number | undefined): PackedForm {
  const shape: PackedForm['shape'] = (source, module) => {
    const [inputs, words] = expectMatrix(source, `${module}.qweight`, ['I32']);
    return [words * AWQ_PER_WORD, inputs];
  };
  return {
    marker: '.qweight',
    parts: ['.qweight', '.qzeros', '.scales'],
    shape,
    read(source, module) {
      const [outputs, inputs] = shape(source, module);
      const [count] = expectMatrix(source, `${module}.scales`, SCALE_DTYPES);
      const groups = evenGroups(`${module}.scales`, { inputs, count, size: groupSize });
      const words = outputs / AWQ_PER_WORD;
      const codes = readWords(source, `${module}.qweight`, [inputs, words]);
      const zeros = readWords(source, `${module}.qzeros`, [count, words]);
      const scales = readScales(source, `${module}.scales`, [count, outputs]);
      return expand(outputs, groups, (output, input, group) => {
        const word = Math.floor(output / AWQ_PER_WORD);
        const place = AWQ_PLACES[output % AWQ_PER_WORD]!;
        const code = codeIn(codes[input * words + word]!, place, AWQ_BITS);
        const zero = codeIn(zeros[group * words + word]!, place, AWQ_BITS);
        return (code - zero) * scales[group * outputs + output]!;
      });
    },
  };
}

/** The GPTQ settings that change the layout. */
interface GptqSettings {
  /** A divisor of 32. */
  readonly bits: number;
  /** Undefined for a single group. In a checkpoint with g_idx, that tensor gives each input's group. */
  readonly groupSize: number | undefined;
  /** Added to the stored zero points: 1 in the first version of the format, 0 in the second. */
  readonly zeroOffset: 0 | 1;
}

/** GPTQ: words along the inputs, qweight [in / codes per word, out]; zero points along the outputs. */
export function gptqForm({ bits, groupSize, zeroOffset }: GptqSettings): PackedForm {
  const perWord = WORD_BITS / bits;
  const shape: PackedForm['shape'] = (source, module) => {
    const [words, outputs] = expectMatrix(source, `${module}.qweight`, ['I32']);
    return [outputs, words * perWord];
  };
  return {
    marker: '.qweight',
    parts: ['.qweight', '.qzeros', '.scales', '.g_idx'],
    shape,
    read(source, module) {
      const [outputs, inputs] = shape(source, module);
      const [count] = expectMatrix(source, `${module}.scales`, SCALE_DTYPES);
      const groups =
        readGroups(source, `${module}.g_idx`, { inputs, count }) ??
        evenGroups(`${module}.scales`, { inputs, count, size: groupSize });
      const scales = readScales(source, `${module}.scales`, [count, outputs]);
      const zeroCols = Math.ceil(outputs / perWord);
      const zeros = readWords(source, `${module}.qzeros`, [count, zeroCols]);
      const codes = readWords(source, `${module}.qweight`, [inputs / perWord, outputs]);
      return expand(outputs, groups, (output, input, group) => {
        const code = codeIn(codes[Math.floor(input / perWord) * outputs + output]!, input, bits);
        const zeroWord = zeros[group * zeroCols + Math.floor(output / perWord)]!;
        const zero = codeIn(codeIn(zeroWord, output, bits) + zeroOffset, 0, bits);
        return (code - zero) * scales[group * outputs + output]!;
      });
    },
  };
}

/** Compressed-tensors' pack-quantized: words along the inputs, weight_packed [out, in / codes per word]. */
export const COMPRESSED_FORM: PackedForm = {
  marker: '.weight_packed',
  parts: [
    '.weight_packed',
    '.weight_scale',
    '.weight_zero_point',
    '.weight_shape',
    '.weight_g_idx',
  ],
  shape: (source, module) => {
    const name = `${module}.weight_shape`;
    const [outputs = 0, inputs = 0] = readPair(source, name);
    if (outputs > 0 && inputs > 0) return [outputs, inputs];
    throw new FileError(name, `is not a shape: [${outputs}, ${inputs}]`);
  },
  read(source, module) {
    const [outputs, inputs] = COMPRESSED_FORM.shape(source, module);
    const bits = findBits(source, `${module}.weight_packed`, inputs);
    const perWord = WORD_BITS / bits;
    const words = Math.ceil(inputs / perWord);
    const codes = readWords(source, `${module}.weight_packed`, [outputs, words]);
    const [, count] = expectMatrix(source, `${module}.weight_scale`, SCALE_DTYPES);
    const groups =
      readGroups(source, `${module}.weight_g_idx`, { inputs, count }) ??
      evenGroups(`${module}.weight_scale`, { inputs, count, size: inputs / count });
    const scales = readScales(source, `${module}.weight_scale`, [outputs, count]);
    const zeroName = `${module}.weight_zero_point`;
    const zeros = source.infos.has(zeroName)
      ? readWords(source, zeroName, [Math.ceil(outputs / perWord), count])
      : undefined;
    return expand(outputs, groups, (output, input, group) => {
      const code = codeIn(codes[output * words + Math.floor(input / perWord)]!, input, bits);
      const zeroWord = zeros?.[Math.floor(output / perWord) * count + group];
      const zero = zeroWord === undefined ? 2 ** (bits - 1) : codeIn(zeroWord, output, bits);
      return (code - zero) * scales[output * count + group]!;
    });
  },
};

/** Returns a code of a word that holds the codes of consecutive indices. */
function codeIn(word: number, index: number, bits: number): number {
  return (word >>> ((index * bits) & (WORD_BITS - 1))) & ((1 << bits) - 1);
}

/** Computes the weights [out, in]. `groups` [in] has the group of each input. */
function expand(
  outputs: number,
  groups: Int32Array,
  valueAt: (output: number, input: number, group: number) => number,
): Float32Array {
  const values = new Float32Array(outputs * groups.length);
  for (let output = 0, at = 0; output < outputs; output++) {
    for (let input = 0; input < groups.length; input++)
      values[at++] = valueAt(output, input, groups[input]!);
  }
  return values;
}

function findBits(source: TensorSource, name: string, inputs: number): number {
  const [, words] = expectMatrix(source, name, ['I32']);
  const bits = [4, 8].find((bits) => Math.ceil((inputs * bits) / WORD_BITS) === words);
  if (bits !== undefined) return bits;
  throw new FileError(
    name,
    `has ${words} words for ${inputs} inputs, which is neither 4 nor 8 bits`,
  );
}

function readPair(source: TensorSource, name: string): number[] {
  const { dtype, shape } = expectInfo(source, name, ['I64', 'I32']);
  if (shape.length !== 1 || shape[0] !== 2) throw new FileError(name, 'is not a shape');
  const { buffer, byteOffset, byteLength } = source.read(name).data;
  const view = new DataView(buffer, byteOffset, byteLength);
  if (dtype === 'I32') return [view.getInt32(0, true), view.getInt32(4, true)];
  return [view.getBigInt64(0, true), view.getBigInt64(8, true)].map(Number);
}

/** The number of inputs, of groups, and of inputs per group (default: all). */
interface Grouping {
  readonly inputs: number;
  readonly count: number;
  readonly size?: number | undefined;
}

/** Returns the group of each input [in] if consecutive inputs form groups. */
function evenGroups(name: string, { inputs, count, size = inputs }: Grouping): Int32Array {
  if (Number.isInteger(size) && Math.ceil(inputs / size) === count) {
    return Int32Array.from({ length: inputs }, (_, input) => Math.floor(input / size));
  }
  throw new FileError(name, `has ${count} groups, but ${inputs} inputs are in groups of ${size}`);
}

/** Reads the group of each input [in]; undefined if the checkpoint does not contain it. */
function readGroups(
  source: TensorSource,
  name: string,
  { inputs, count }: Grouping,
): Int32Array | undefined {
  if (!source.infos.has(name)) return undefined;
  const groups = new Int32Array(readWords(source, name, [inputs]));
  if (groups.every((group) => group >= 0 && group < count)) return groups;
  throw new FileError(name, `names a group that is not one of ${count}`);
}
