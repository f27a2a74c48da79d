// Tensors in Tinker's protobuf messages: dense, or sparse rows in CSR, whose other values are zeros.
import { fieldError } from '../common/errors.ts';
import { DType, type SparseCsr, type Tensor } from './proto/tinker_pb.js';

/** A matrix [rows, columns], row by row. */
interface Columns {
  readonly values: readonly number[];
  readonly columns: number;
}

/** Each column costs as much as another sequence. */
const MAX_COLUMNS = 128;

/** Reads a tensor [rows] or [rows, columns]. Throws `ServeError` that names the field. */
export function readMatrix({ layout, dtype, shape }: Tensor, param: string, rows: number): Columns {
  const columns = shape.length === 2 ? Number(shape[1]) : 1;
  if (shape.length > 2 || layout.case === undefined) {
    throw fieldError(param, 'must have one value, or one row of values, for each token');
  }
  if (columns < 1 || columns > MAX_COLUMNS) {
    throw fieldError(param, `has ${columns} values per token; the limit is ${MAX_COLUMNS}`);
  }
  if (layout.case === 'sparseCsr') {
    return { values: fromRows(layout.value, dtype, { param, rows, columns }), columns };
  }
  const values = decode(dtype, layout.value, param);
  requireRows(values.length / columns, rows, param);
  return { values, columns };
}

function requireRows(count: number, rows: number, param: string): void {
  if (count === rows) return;
  throw fieldError(param, `has ${count} values for ${rows} tokens of model_input`);
}

function fromRows(
  { values: valueBytes, crowIndices, colIndices }: SparseCsr,
  dtype: DType,
  {
    param,
    rows,
    columns,
  }: { readonly param: string; readonly rows: number; readonly columns: number },
): number[] {
  // A row of 8 bytes here is up to 128 values below.
  requireRows(crowIndices.length / BigInt64Array.BYTES_PER_ELEMENT - 1, rows, param);
  const values = decode(dtype, valueBytes, param);
  const begins = decode(DType.DTYPE_INT64, crowIndices, param);
  const columnIds = decode(DType.DTYPE_INT64, colIndices, param);
  if (!isCsr({ begins, columnIds, count: values.length, columns })) {
    throw fieldError(param, 'has indices that do not fit its values');
  }
  const dense = new Array<number>(rows * columns).fill(0);
  for (let row = 0; row < rows; row++) {
    for (let i = begins[row]!; i < begins[row + 1]!; i++) {
      dense[row * columns + columnIds[i]!] = values[i]!;
    }
  }
  return dense;
}

/** The layout of sparse rows: the index of the first value of each row, and the column of each value. */
interface Csr {
  readonly begins: readonly number[];
  readonly columnIds: readonly number[];
  /** Values. */
  readonly count: number;
  readonly columns: number;
}

/** Whether the layout fits its values and columns. There is one more begin than rows. */
export function isCsr({ begins, columnIds, count, columns }: Csr): boolean {
  const isGrowing = begins.every((begin, row) => begin >= (begins[row - 1] ?? 0));
  const isWhole = begins[0] === 0 && begins.at(-1) === count;
  const isWithin = columnIds.every((id) => id >= 0 && id < columns);
  return isGrowing && isWhole && isWithin && columnIds.length === count;
}

function decode(dtype: DType, bytes: Uint8Array, param: string): number[] {
  switch (dtype) {
    case DType.DTYPE_FLOAT32:
      return [...toArray(Float32Array, bytes, param)];
    case DType.DTYPE_INT32:
      return [...toArray(Int32Array, bytes, param)];
    case DType.DTYPE_INT64:
      return Array.from(toArray(BigInt64Array, bytes, param), Number);
    default:
      throw fieldError(param, 'must have the type float32, int32 or int64');
  }
}

/** Copies little-endian bytes, which need not be aligned. Throws `ServeError` if they end inside a value. */
export function toArray<A extends Float32Array | Int32Array | BigInt64Array>(
  type: { new (buffer: ArrayBuffer): A; readonly BYTES_PER_ELEMENT: number },
  bytes: Uint8Array,
  param: string,
): A {
  if (bytes.length % type.BYTES_PER_ELEMENT !== 0) throw fieldError(param, 'ends inside a value');
  return new type(new Uint8Array(bytes).buffer);
}
