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
/** The output that each code of a word belongs to, from the lowest bits up. */
const AWQ_ORDER = [0, 2, 4, 6, 1, 3, 5, 7] as const;
const AWQ_PER_WORD = AWQ_ORDER.length;

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
      const zeroWords = readWords(source, `${module}.qzeros`, [count, words]);
      const scales = readScales(source, `${module}.scales`, [count, outputs]);
      const values = new Float32Array(outputs * inputs);
      for (let input = 0; input < inputs; input++) {
        const group = groups[input]!;
        for (let word = 0; word < words; word++) {
          const code = codes[input * words + word]!;
          const zero = zeroWords[group * words + word]!;
          for (let i = 0; i < AWQ_PER_WORD; i++) {
            const output = word * AWQ_PER_WORD + AWQ_ORDER[i]!;
            const shift = i * AWQ_BITS;
            const level = ((code >>> shift) & 15) - ((zero >>> shift) & 15);
            values[output * inputs + input] = level * scales[group * outputs + output]!;
          }
        }
      }
      return values;
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
      const zeroWords = readWords(source, `${module}.qzeros`, [count, zeroCols]);
      const zeros = new Uint8Array(count * outputs);
      const mask = 2 ** bits - 1;
      for (let i = 0; i < zeros.length; i++) {
        const [group, output] = [Math.floor(i / outputs), i % outputs];
        const word = zeroWords[group * zeroCols + Math.floor(output / perWord)]!;
        zeros[i] = ((word >>> ((output % perWord) * bits)) + zeroOffset) & mask;
      }
      const codes = readWords(source, `${module}.qweight`, [inputs / perWord, outputs]);
      const values = new Float32Array(outputs * inputs);
      for (let input = 0; input < inputs; input++) {
        const start = Math.floor(input / perWord) * outputs;
        const shift = (input % perWord) * bits;
        const of = groups[input]! * outputs;
        for (let output = 0; output < outputs; output++) {
          const level = ((codes[start + output]! >>> shift) & mask) - zeros[of + output]!;
          values[output * inputs + input] = level * scales[of + output]!;
        }
      }
      return values;
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
    const mask = 2 ** bits - 1;
    const words = Math.ceil(inputs / perWord);
    const codes = readWords(source, `${module}.weight_packed`, [outputs, words]);
    const [, count] = expectMatrix(source, `${module}.weight_scale`, SCALE_DTYPES);
    const groups =
      readGroups(source, `${module}.weight_g_idx`, { inputs, count }) ??
      evenGroups(`${module}.weight_scale`, { inputs, count, size: inputs / count });
    const scales = readScales(source, `${module}.weight_scale`, [outputs, count]);
    const zeroName = `${module}.weight_zero_point`;
    const zeroWords = source.infos.has(zeroName)
      ? readWords(source, zeroName, [Math.ceil(outputs / perWord), count])
      : undefined;
    const values = new Float32Array(outputs * inputs);
    for (let output = 0; output < outputs; output++) {
      const zeroRow = Math.floor(output / perWord) * count;
      const zeroShift = (output % perWord) * bits;
      for (let input = 0; input < inputs; input++) {
        const group = groups[input]!;
        const zero = zeroWords
          ? (zeroWords[zeroRow + group]! >>> zeroShift) & mask
          : (mask + 1) / 2;
        const word = codes[output * words + Math.floor(input / perWord)]!;
        const level = ((word >>> ((input % perWord) * bits)) & mask) - zero;
        values[output * inputs + input] = level * scales[output * count + group]!;
      }
    }
    return values;
  },
};

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
