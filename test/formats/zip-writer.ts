// Writes zip files with one member.
import { deflateRawSync } from 'node:zlib';

const METHODS = { stored: 0, deflated: 8 } as const;

/** Creates a zip file with one member. */
export function zipOf(
  name: string,
  contents: Buffer,
  how: keyof typeof METHODS,
  comment = '',
): Buffer {
  const method = METHODS[how];
  const packed = how === 'deflated' ? deflateRawSync(contents) : contents;
  const local = Buffer.alloc(30);
  local.writeUInt32LE(0x04034b50, 0);
  local.writeUInt16LE(method, 8);
  local.writeUInt16LE(name.length, 26);
  const entry = Buffer.alloc(46);
  entry.writeUInt32LE(0x02014b50, 0);
  entry.writeUInt16LE(method, 10);
  entry.writeUInt32LE(packed.length, 20);
  entry.writeUInt32LE(contents.length, 24);
  entry.writeUInt16LE(name.length, 28);
  const end = Buffer.alloc(22);
  end.writeUInt32LE(0x06054b50, 0);
  end.writeUInt16LE(1, 10);
  end.writeUInt32LE(46 + name.length, 12);
  end.writeUInt32LE(30 + name.length + packed.length, 16);
  end.writeUInt16LE(comment.length, 20);
  const parts = [local, Buffer.from(name), packed, entry, Buffer.from(name), end];
  return Buffer.concat([...parts, Buffer.from(comment)]);
}
