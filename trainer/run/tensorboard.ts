// Encodes TensorBoard's event file: TFRecord frames (length, masked CRC-32C, protobuf `Event`, masked CRC-32C) of scalars.
// Formats: tensorflow/core/lib/io/record_writer.h and tensorflow/core/util/event.proto.
import type { StepMetrics } from './metrics.ts';

/** TensorBoard finds files by a name like this. */
export const EVENT_FILE = 'events.out.tfevents.0.lorikeet';

/** TensorBoard's name of a scalar → metric. */
const SCALARS = {
  'train/loss': 'loss',
  'train/token_accuracy': 'tokenAccuracy',
  'train/grad_norm': 'gradNorm',
  'train/learning_rate': 'learningRate',
  'train/tokens_per_second': 'tokensPerSecond',
  'validation/loss': 'validationLoss',
  'validation/token_accuracy': 'validationTokenAccuracy',
} as const satisfies Record<string, keyof StepMetrics>;

/** Returns the first frame of a file. */
export function fileVersionRecord(wallTimeS: number): Uint8Array {
  return frame(Buffer.concat([doubleField(1, wallTimeS), bytesField(3, 'brain.Event:2')]));
}

/** Returns the frame with one step's scalars. */
export function stepRecord(metrics: StepMetrics, wallTimeS: number): Uint8Array {
  const values = Object.entries(SCALARS).flatMap(([tag, key]) => {
    const value = metrics[key];
    if (value === undefined) return [];
    return [bytesField(1, Buffer.concat([bytesField(1, tag), floatField(2, value)]))];
  });
  const event = [
    doubleField(1, wallTimeS),
    Buffer.from([tagOf(2, 0), ...varint(metrics.step)]),
    bytesField(5, Buffer.concat(values)),
  ];
  return frame(Buffer.concat(event));
}

function frame(data: Buffer): Uint8Array {
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(data.length));
  return new Uint8Array(Buffer.concat([length, maskedCrc(length), data, maskedCrc(data)]));
}

function tagOf(field: number, wireType: number): number {
  return (field << 3) | wireType;
}

function varint(value: number): number[] {
  const bytes: number[] = [];
  let rest = value;
  for (; rest >= 128; rest = Math.floor(rest / 128)) bytes.push((rest % 128) | 128);
  return [...bytes, rest];
}

function bytesField(field: number, value: string | Buffer): Buffer {
  const bytes = Buffer.from(value);
  return Buffer.concat([Buffer.from([tagOf(field, 2), ...varint(bytes.length)]), bytes]);
}

function doubleField(field: number, value: number): Buffer {
  const bytes = Buffer.alloc(9);
  bytes[0] = tagOf(field, 1);
  bytes.writeDoubleLE(value, 1);
  return bytes;
}

function floatField(field: number, value: number): Buffer {
  const bytes = Buffer.alloc(5);
  bytes[0] = tagOf(field, 5);
  bytes.writeFloatLE(value, 1);
  return bytes;
}

/** The polynomial of CRC-32C, with its bits reversed. */
const POLYNOMIAL = 0x82f63b78;
const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let crc = byte;
  for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ POLYNOMIAL : crc >>> 1;
  return crc;
});

/** Returns the CRC-32C of some bytes. */
export function crc32c(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) crc = CRC_TABLE[(crc ^ byte) & 255]! ^ (crc >>> 8);
  return (crc ^ 0xffffffff) >>> 0;
}

/** Masks a CRC as TFRecord does: computing a CRC over data that contains CRCs is problematic. */
function maskedCrc(bytes: Uint8Array): Buffer {
  const crc = crc32c(bytes);
  const out = Buffer.alloc(4);
  out.writeUInt32LE((((crc >>> 15) | (crc << 17)) + 0xa282ead8) >>> 0);
  return out;
}
