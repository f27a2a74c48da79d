// Weights of 8 bits with scales: fp8 per tensor, per output or per block, and int8 per output.
import { FileError } from '../../common/errors.ts';
import type { TensorSource } from '../../common/tensor.ts';
import {
  expectInfo,
  expectMatrix,
  type PackedForm,
  readScales,
  SCALE_DTYPES,
} from './packed-form.ts';

/** The rows and columns of a block with a scale of its own. */
export type ScaleBlock = readonly [rows: number, cols: number];

const DTYPES = ['F8_E4M3', 'F8_E5M2', 'I8'] as const;

/** The value of each byte, by type. */
const VALUES: Readonly<Record<(typeof DTYPES)[number], Float32Array>> = {
  F8_E4M3: Float32Array.from({ length: 256 }, (_, byte) => {
    return (byte & 0x7f) === 0x7f ? Number.NaN : smallFloat(byte, 3, 7); // it has no infinity
  }),
  F8_E5M2: Float32Array.from({ length: 256 }, (_, byte) => {
    if ((byte & 0x7c) === 0x7c) return Number.NaN; // neither an infinity nor a NaN is a weight
    return smallFloat(byte, 2, 15);
  }),
  I8: Float32Array.from({ length: 256 }, (_, byte) => (byte << 24) >> 24),
};

/** The value of a float of 8 bits that is finite. */
function smallFloat(byte: number, mantissaBits: number, bias: number): number {
  const sign = byte & 0x80 ? -1 : 1;
  const exponent = (byte & 0x7f) >> mantissaBits;
  const fraction = (byte & ((1 << mantissaBits) - 1)) / (1 << mantissaBits);
  if (exponent === 0) return sign * fraction * 2 ** (1 - bias);
  return sign * (1 + fraction) * 2 ** (exponent - bias);
}

/**
 * Returns the form of a weight of 8 bits and its scales. One scale is the whole tensor's, one per output is its row's, and
 * others are those of blocks, which the checkpoint's settings give.
 */
export function scaledForm(
  scales: '.weight_scale' | '.weight_scale_inv',
  block: ScaleBlock | undefined,
): PackedForm {
  return {
    marker: scales,
    parts: ['.weight', scales],
    shape: (source, module) => expectMatrix(source, `${module}.weight`, DTYPES),
    read(source, module) {
      refuseZeroPoint(source, module);
      return readScaled(source, module, { scales, block });
    },
  };
}

/** The form of bitsandbytes' int8 weights: one scale per output, which is its largest magnitude. */
export const BITSANDBYTES_INT8: PackedForm = {
  marker: '.SCB',
  parts: ['.weight', '.SCB', '.weight_format'],
  shape: (source, module) => expectMatrix(source, `${module}.weight`, ['I8']),
  read(source, module) {
    const format = `${module}.weight_format`;
    if (source.infos.has(format) && source.read(format).data.some((byte) => byte !== 0)) {
      throw new FileError(format, 'is not the layout of rows');
    }
    const values = readScaled(source, module, { scales: '.SCB', block: undefined });
    const unit = Math.fround(1 / 127);
    for (let i = 0; i < values.length; i++) values[i] = values[i]! * unit;
    return values;
  },
};

function readScaled(
  source: TensorSource,
  module: string,
  { scales: suffix, block }: { scales: string; block: ScaleBlock | undefined },
): Float32Array {
  const weight = `${module}.weight`;
  const [rows, cols] = expectMatrix(source, weight, DTYPES);
  const { dtype } = expectInfo(source, weight, DTYPES);
  const [blockRows, blockCols] = findBlock(source, `${module}${suffix}`, { rows, cols, block });
  const scales = readScales(source, `${module}${suffix}`);
  const table = VALUES[dtype as (typeof DTYPES)[number]];
  const { data } = source.read(weight);
  const values = new Float32Array(rows * cols);
  const scalesPerRow = Math.ceil(cols / blockCols);
  for (let row = 0; row < rows; row++) {
    const firstScale = Math.floor(row / blockRows) * scalesPerRow;
    for (let at = 0; at < scalesPerRow; at++) {
      const scale = scales[firstScale + at]!;
      const end = row * cols + Math.min(cols, (at + 1) * blockCols);
      for (let i = row * cols + at * blockCols; i < end; i++) values[i] = table[data[i]!]! * scale;
    }
  }
  return values;
}

function findBlock(
  source: TensorSource,
  name: string,
  { rows, cols, block }: { rows: number; cols: number; block: ScaleBlock | undefined },
): ScaleBlock {
  const { shape } = expectInfo(source, name, SCALE_DTYPES);
  const [first = 1, second = 1, ...rest] = shape;
  const isOf = ([blockRows, blockCols]: ScaleBlock) =>
    first === Math.ceil(rows / blockRows) && second === Math.ceil(cols / blockCols);
  const found = [...(block ? [block] : []), [rows, cols] as const, [1, cols] as const].find(isOf);
  if (found && rest.length === 0) return found;
  const blocks = block ? `, nor blocks of [${block}]` : '';
  throw new FileError(
    name,
    `has shape [${shape}], which is neither one scale nor one per output of [${rows}, ${cols}]${blocks}`,
  );
}

function refuseZeroPoint(source: TensorSource, module: string): void {
  const name = `${module}.weight_zero_point`;
  if (source.infos.has(name)) {
    throw new FileError(name, 'weights of 8 bits with zero points cannot be imported');
  }
}
