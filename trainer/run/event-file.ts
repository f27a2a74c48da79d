// Encodes TensorBoard's event file: TFRecord frames (length, masked CRC-32C, protobuf `Event`, masked CRC-32C) of scalars.
// Formats: tensorflow/core/lib/io/record_writer.h and tensorflow/core/util/event.proto.
import { BinaryWriter, WireType } from '@bufbuild/protobuf/wire';
import { SCALARS, type StepMetrics } from '../../src/contracts/metrics.ts';

/** TensorBoard finds files by this prefix. */
export const EVENT_FILE = 'events.out.tfevents.0.lorikeet';

/** Returns the first frame of a file. */
export function fileVersionRecord(wallTimeS: number): Uint8Array {
  return frame(eventAt(wallTimeS).tag(3, WireType.LengthDelimited).string('brain.Event:2'));
}

/** Returns the frame with one step's scalars. */
export function stepRecord(metrics: StepMetrics, wallTimeS: number): Uint8Array {
  const event = eventAt(wallTimeS).tag(2, WireType.Varint).int64(metrics.step);
  event.tag(5, WireType.LengthDelimited).fork();
  for (const [name, key] of SCALARS) {
    const value = metrics[key];
    if (value === undefined) continue;
    event.tag(1, WireType.LengthDelimited).fork();
    event.tag(1, WireType.LengthDelimited).string(name).tag(2, WireType.Bit32).float(value).join();
  }
  return frame(event.join());
}

function eventAt(wallTimeS: number): BinaryWriter {
  return new BinaryWriter().tag(1, WireType.Bit64).double(wallTimeS);
}

function frame(event: BinaryWriter): Uint8Array {
  const data = event.finish();
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(data.length));
  return new Uint8Array(Buffer.concat([length, maskedCrc(length), data, maskedCrc(data)]));
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

/** Masks a CRC as TFRecord does, because a CRC over data that contains CRCs is problematic. */
function maskedCrc(bytes: Uint8Array): Buffer {
  const crc = crc32c(bytes);
  const out = Buffer.alloc(4);
  out.writeUInt32LE((((crc >>> 15) | (crc << 17)) + 0xa282ead8) >>> 0);
  return out;
}
