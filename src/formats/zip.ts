// Reads members of zip files such as Python wheels and numpy archives. Supports stored and deflated members, but not
// zip64 or encryption.
import { closeSync, fstatSync } from 'node:fs';
import { inflateRawSync } from 'node:zlib';
import { FileError } from '../common/errors.ts';
import { openRegular, readAt } from '../common/regular-file.ts';

/** A member must fit in memory. The largest one needed is a model of 98 MB. */
const MAX_MEMBER_BYTES = 2 ** 30;
const END_SIGNATURE = 0x06054b50;
const ENTRY_SIGNATURE = 0x02014b50;
const LOCAL_SIGNATURE = 0x04034b50;
const END_BYTES = 22;
/** A comment of at most 64 KiB may follow the end record. */
const MAX_END_BYTES = END_BYTES + 0xffff;
const STORED = 0;
const DEFLATED = 8;

interface Member {
  readonly method: number;
  readonly packedBytes: number;
  readonly byteLength: number;
  readonly begin: number;
}

/** An open zip file. */
export interface ZipFile {
  readonly names: readonly string[];
  /** Returns a member's contents. Throws `FileError` if it does not exist or is damaged. */
  read(name: string): Uint8Array;
  close(): void;
}

/** Opens a zip file. Throws `FileError` if it is not one. */
export function openZip(path: string): ZipFile {
  const file = openRegular(path);
  try {
    const members = readDirectory(file);
    return {
      names: [...members.keys()],
      read(name) {
        const member = members.get(name);
        if (!member) throw new FileError(name, 'is not in the zip file');
        return readMember(file, name, member);
      },
      close: () => closeSync(file),
    };
  } catch (error) {
    closeSync(file);
    throw error;
  }
}

function readDirectory(file: number): Map<string, Member> {
  const fileBytes = fstatSync(file).size;
  const tail = readPart(
    file,
    Math.max(0, fileBytes - MAX_END_BYTES),
    Math.min(fileBytes, MAX_END_BYTES),
  );
  let end = tail.length - END_BYTES;
  while (end >= 0 && tail.readUInt32LE(end) !== END_SIGNATURE) end--;
  if (end < 0) throw new FileError('zip', 'has no end record');
  const count = tail.readUInt16LE(end + 10);
  const directory = readPart(file, tail.readUInt32LE(end + 16), tail.readUInt32LE(end + 12));
  const members = new Map<string, Member>();
  for (let i = 0, at = 0; i < count; i++) {
    if (at + 46 > directory.length || directory.readUInt32LE(at) !== ENTRY_SIGNATURE) {
      throw new FileError('zip', 'has a damaged directory');
    }
    const nameBytes = directory.readUInt16LE(at + 28);
    if (nameBytes === 0) throw new FileError('zip', 'has a member without a name');
    if (at + 46 + nameBytes > directory.length) {
      throw new FileError('zip', 'has a damaged directory');
    }
    members.set(directory.toString('utf8', at + 46, at + 46 + nameBytes), {
      method: directory.readUInt16LE(at + 10),
      packedBytes: directory.readUInt32LE(at + 20),
      byteLength: directory.readUInt32LE(at + 24),
      begin: directory.readUInt32LE(at + 42),
    });
    at += 46 + nameBytes + directory.readUInt16LE(at + 30) + directory.readUInt16LE(at + 32);
  }
  return members;
}

function readMember(file: number, name: string, member: Member): Uint8Array {
  const { method, packedBytes, byteLength, begin } = member;
  if (byteLength > MAX_MEMBER_BYTES)
    throw new FileError(name, `has ${byteLength} bytes; the limit is ${MAX_MEMBER_BYTES}`);
  const local = readPart(file, begin, 30);
  if (local.readUInt32LE(0) !== LOCAL_SIGNATURE) throw new FileError(name, 'has a damaged header');
  const dataBegin = begin + 30 + local.readUInt16LE(26) + local.readUInt16LE(28);
  const packed = readPart(file, dataBegin, packedBytes);
  const bytes = unpack(name, method, packed, byteLength);
  if (bytes.length !== byteLength) throw new FileError(name, 'is damaged');
  return bytes;
}

function unpack(name: string, method: number, packed: Buffer, byteLength: number): Uint8Array {
  if (method === STORED) return packed;
  if (method !== DEFLATED) throw new FileError(name, `zip method ${method} is not supported`);
  try {
    return inflateRawSync(packed, { maxOutputLength: Math.max(byteLength, 1) });
  } catch (cause) {
    throw new FileError(name, 'is damaged', { cause });
  }
}

/** Throws `FileError` if the file is too short. */
function readPart(file: number, position: number, byteLength: number): Buffer {
  if (position + byteLength > fstatSync(file).size) throw new FileError('zip', 'is truncated');
  return Buffer.from(readAt(file, position, byteLength).buffer);
}
