// Bounds what a protobuf message takes when it is read. An empty message in it is two bytes on the wire and hundreds in memory.
import type { DescMessage } from '@bufbuild/protobuf';
import { BinaryReader, WireType } from '@bufbuild/protobuf/wire';
import { fieldError } from '../common/errors.ts';

/** The fields of a message that can have parts, by number. */
type Fields = ReadonlyMap<number, Field>;
interface Field {
  readonly name: string;
  /** The fields of the messages in it. Undefined: each byte may be a number. */
  readonly inside: Fields | undefined;
}

/** The number of the value in an entry of a map. */
const MAP_VALUE = 2;

/**
 * Returns a check of messages of a type, which must not contain itself. The check throws `ServeError` that names the field of the
 * message at which it has more than `max` parts: values of fields, at any depth. It throws another error if the bytes are no message.
 */
export function boundParts(type: DescMessage, max: number): (bytes: Uint8Array) => void {
  const fields = fieldsOf(type);
  return (bytes) => {
    let left = max;
    const count = (part: Uint8Array, known: Fields | undefined, outer?: string) => {
      const reader = new BinaryReader(part);
      while (reader.pos < reader.len) {
        const [number, wireType] = reader.tag();
        const field = known?.get(number);
        const name = outer ?? field?.name ?? `field ${number}`;
        const isLong = field && wireType === WireType.LengthDelimited;
        const value = isLong ? reader.bytes() : reader.skip(wireType, number);
        left -= isLong && !field.inside ? value.length : 1;
        if (left < 0) {
          throw fieldError(name, `has more than ${max} parts. Send fewer sequences at a time`);
        }
        if (isLong && field.inside) count(value, field.inside, name);
      }
    };
    count(bytes, fields);
  };
}

function fieldsOf({ fields }: DescMessage): Fields {
  const found = fields.flatMap((field): (readonly [number, Field])[] => {
    const { name, number, fieldKind, message } = field;
    const inside = message && fieldsOf(message);
    if (fieldKind === 'map') {
      const value = new Map(inside && [[MAP_VALUE, { name, inside }]]);
      return [[number, { name, inside: value }]];
    }
    const isNumbers = fieldKind === 'list' && field.listKind !== 'message';
    return inside || isNumbers ? [[number, { name, inside }]] : [];
  });
  return new Map(found);
}
