import assert from 'node:assert/strict';
import test from 'node:test';
import { FileError } from '../../src/common/errors.ts';
import { ADAPTER_LIMITS, BASE_LIMITS, parseSafetensors } from '../../src/formats/safetensors.ts';

/** Creates a file from a header (text or bytes) and zeros. */
function file(header: string | Uint8Array, dataBytes = 0, length?: bigint): Uint8Array {
  const text = typeof header === 'string' ? new TextEncoder().encode(header) : header;
  const bytes = new Uint8Array(8 + text.length + dataBytes);
  new DataView(bytes.buffer).setBigUint64(0, length ?? BigInt(text.length), true);
  bytes.set(text, 8);
  return bytes;
}

const entry = (dtype: string, shape: string, offsets: string) =>
  `{"dtype":${dtype},"shape":${shape},"data_offsets":${offsets}}`;
const one = (shape: string, offsets = '[0,8]', dtype = '"F32"') =>
  `{"x":${entry(dtype, shape, offsets)}}`;
const two = (first: string, second: string) =>
  `{"x":${entry('"F32"', '[1]', first)},"y":${entry('"F32"', '[1]', second)}}`;
const named = (name: string) => `{${JSON.stringify(name)}:${entry('"F32"', '[2]', '[0,8]')}}`;
const good = one('[2]');

const refused: Record<string, Uint8Array> = {
  'an empty file': new Uint8Array(0),
  'seven bytes': new Uint8Array(7),
  'a header of no bytes': file('', 0),
  'a header of one byte': file('{', 0),
  'a header longer than the file': file(good, 8, 1000n),
  'a header length of 2^53': file(good, 8, 2n ** 53n),
  'a header length of 2^64-1': file(good, 8, 2n ** 64n - 1n),
  'a header that is not UTF-8': file(Uint8Array.of(0x7b, 0xff, 0x7d)),
  'a header that is not JSON': file('{hello}'),
  'a header that starts with a space': file(` ${good}`, 8),
  'an array as header': file('[]'),
  'text after the header': file(`${good}{}`, 8),
  'a trailing comma': file(good.replace(/}$/, ',}'), 8),
  'a repeated tensor': file(
    `{"x":${entry('"F32"', '[2]', '[0,8]')},"x":${entry('"F32"', '[2]', '[0,8]')}}`,
    8,
  ),
  'a repeated tensor, once escaped': file(
    `{"x":${entry('"F32"', '[2]', '[0,8]')},"\\u0078":${entry('"F32"', '[2]', '[0,8]')}}`,
    8,
  ),
  'a repeated key in an entry': file(
    '{"x":{"dtype":"F32","dtype":"F32","shape":[2],"data_offsets":[0,8]}}',
    8,
  ),
  'an unknown key in an entry': file(
    '{"x":{"dtype":"F32","shape":[2],"data_offsets":[0,8],"z":1}}',
    8,
  ),
  'a missing key in an entry': file('{"x":{"dtype":"F32","shape":[2]}}', 8),
  'data that overlaps': file(two('[0,4]', '[2,6]'), 6),
  'data used twice': file(two('[0,4]', '[0,4]'), 4),
  'a gap': file(two('[0,4]', '[8,12]'), 12),
  'reversed offsets': file(one('[2]', '[8,0]'), 8),
  'three offsets': file(one('[2]', '[0,8,8]'), 8),
  'a first offset that is not 0': file(one('[2]', '[4,12]'), 12),
  'trailing bytes': file(good, 9),
  'missing bytes': file(good, 7),
  'a shape whose product overflows': file(one('[4294967296,4294967296,4294967296]'), 8),
  'a shape whose product wraps to 2': file(one('[9223372036854775809,2]'), 8),
  'nine axes': file(one('[1,1,1,1,1,1,1,1,2]'), 8),
  'a negative extent': file(one('[-2]'), 8),
  'a fractional extent': file(one('[2.0]'), 8),
  'an extent in scientific notation': file(one('[2e0]'), 8),
  'an extent with a leading zero': file(one('[02]'), 8),
  'a string as extent': file(one('["2"]'), 8),
  'a shape that is not a list': file(one('2'), 8),
  'a size that does not match the shape': file(one('[3]'), 8),
  'an unknown dtype': file(one('[2]', '[0,8]', '"F42"'), 8),
  'a dtype that is an inherited property': file(one('[2]', '[0,8]', '"toString"'), 8),
  'a dtype that is not a string': file(one('[2]', '[0,8]', '32'), 8),
  'a tensor of size zero': file(one('[0]', '[0,0]'), 0),
  'the name __proto__': file(named('__proto__'), 8),
  'a name that leaves its folder': file(named('../x'), 8),
  'a name of 64 KiB': file(named('x'.repeat(65_536)), 8),
  'an empty name': file(named(''), 8),
  'metadata that is not a map': file(`{"__metadata__":[],${good.slice(1)}`, 8),
  'metadata with a number': file(`{"__metadata__":{"a":1},${good.slice(1)}`, 8),
  'repeated metadata': file(`{"__metadata__":{},"__metadata__":{},${good.slice(1)}`, 8),
  'deep nesting': file(`{"x":${'['.repeat(100_000)}`),
  'a pickle': new TextEncoder().encode('\x80\x02}q\x00(X\x06\x00\x00\x00weight'),
  'a GGUF file': new TextEncoder().encode('GGUF\x03\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00'),
  'an HTML page': new TextEncoder().encode('<!DOCTYPE html><html></html>'),
};

for (const [what, bytes] of Object.entries(refused)) {
  test(`${what} is rejected`, () => {
    assert.throws(() => parseSafetensors(bytes, ADAPTER_LIMITS), FileError);
    assert.throws(() => parseSafetensors(bytes, BASE_LIMITS), FileError);
  });
}

test('an unsorted but contiguous header and empty metadata are accepted', () => {
  const { tensors } = parseSafetensors(file(two('[4,8]', '[0,4]'), 8), ADAPTER_LIMITS);
  assert.deepEqual([...tensors.keys()], ['x', 'y']);
  assert.equal(parseSafetensors(file(`{"__metadata__":{},${good.slice(1)}`, 8)).tensors.size, 1);
});

test('a key __proto__ of the metadata is a key like any other', () => {
  const { metadata } = parseSafetensors(
    file(`{"__metadata__":{"__proto__":"a"},${good.slice(1)}`, 8),
  );
  assert.equal(Object.getPrototypeOf(metadata), null);
  assert.deepEqual(Object.entries(metadata), [['__proto__', 'a']]);
});

test('an adapter with integers, doubles, scalars or more than 1 MiB of header is rejected', () => {
  const scalar = file(one('[]', '[0,4]'), 4);
  assert.equal(parseSafetensors(scalar, BASE_LIMITS).tensors.get('x')!.data.length, 4);
  assert.throws(() => parseSafetensors(scalar, ADAPTER_LIMITS), /x: is empty/);
  const integers = file(one('[1]', '[0,8]', '"I64"'), 8);
  assert.equal(parseSafetensors(integers, BASE_LIMITS).tensors.size, 1);
  assert.throws(() => parseSafetensors(integers, ADAPTER_LIMITS), /dtype I64/);
  const padded = file(good.padEnd(1024 * 1024 + 1), 8);
  assert.equal(parseSafetensors(padded, BASE_LIMITS).tensors.size, 1);
  assert.throws(() => parseSafetensors(padded, ADAPTER_LIMITS), /the limit is 1 MiB/);
});

test('more tensors than the limit are rejected', () => {
  const count = 100_000;
  const entries = Array.from(
    { length: count },
    (_, i) => `"t${i}":{"dtype":"U8","shape":[1],"data_offsets":[${i},${i + 1}]}`,
  );
  const bytes = file(`{${entries.join(',')}}`, count);
  assert.throws(() => parseSafetensors(bytes, BASE_LIMITS), /more than 65536 tensors/);
});
