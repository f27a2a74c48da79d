// TensorBoard's event file: TFRecord frames (length, masked CRC-32C, protobuf `Event`, masked CRC-32C) of scalars.
// Formats: tensorflow/core/lib/io/record_writer.h and tensorflow/core/util/event.proto. Knows no files.
import type { StepMetrics } from './metrics.ts';

/** A name that TensorBoard finds. */
export const EVENT_FILE = 'events.out.tfevents.0.lorikeet';

/** Scalar's name in TensorBoard → metric. */
const SCALARS = {
  'train/loss': 'loss',
  'train/token_accuracy': 'tokenAccuracy',
  'train/grad_norm': 'gradNorm',
  'train/learning_rate': 'learningRate',
  'train/tokens_per_second': 'tokensPerSecond',
  'validation/loss': 'validationLoss',
  'validation/token_accuracy': 'validationTokenAccuracy',
} as const satisfies Record<string, keyof StepMetrics>;

/** The frame that begins a file. */
export function fileVersionRecord(wallTimeS: number): Uint8Array {
  return frame(Buffer.concat([doubleField(1, wallTimeS), bytesField(3, 'brain.Event:2')]));
}

/** One step's scalars. */
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

/** CRC-32C's polynomial, bits reversed. */
const POLYNOMIAL = 0x82f63b78;
const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let crc = byte;
  for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ POLYNOMIAL : crc >>> 1;
  return crc;
});

export function crc32c(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) crc = CRC_TABLE[(crc ^ byte) & 255]! ^ (crc >>> 8);
  return (crc ^ 0xffffffff) >>> 0;
}

/** Turned and shifted, so that a CRC over data that holds CRCs stays telling. */
function maskedCrc(bytes: Uint8Array): Buffer {
  const crc = crc32c(bytes);
  const out = Buffer.alloc(4);
  out.writeUInt32LE((((crc >>> 15) | (crc << 17)) + 0xa282ead8) >>> 0);
  return out;
}
