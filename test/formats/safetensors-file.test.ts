import assert from 'node:assert/strict';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import test from 'node:test';
import { AssertionError } from '../../src/common/assert.ts';
import { FileError } from '../../src/common/errors.ts';
import { type Tensor, toFloat32 } from '../../src/common/tensor.ts';
import {
  memorySource,
  openSafetensors,
  parseSafetensors,
  serializeSafetensors,
  writeSafetensors,
} from '../../src/formats/safetensors.ts';
import { openFolder } from '../../src/import/folder.ts';
import { temporaryFolder } from '../fixtures.ts';
import { sharedPath, skipUnless } from '../shared.ts';

const folder = temporaryFolder();

const tensors = new Map<string, Tensor>([
  ['b.weight', { dtype: 'U8', shape: [3], data: Uint8Array.of(7, 8, 9) }],
  [
    'a.weight',
    { dtype: 'F32', shape: [1, 2], data: new Uint8Array(Float32Array.of(0.5, -2).buffer) },
  ],
  ['a.bias', { dtype: 'BF16', shape: [1], data: Uint8Array.of(0x80, 0x3f) }],
]);

function contents(found: Map<string, Tensor>): Record<string, unknown> {
  const sorted = [...found].sort(([a], [b]) => (a < b ? -1 : 1));
  return Object.fromEntries(
    sorted.map(([name, { dtype, shape, data }]) => [name, { dtype, shape, data: [...data] }]),
  );
}

test('written tensors are read back, in memory and from disk', async () => {
  const file = path.join(folder, 'round.safetensors');
  await writeSafetensors(file, memorySource(tensors), { metadata: { format: 'pt' } });
  const bytes = new Uint8Array(readFileSync(file));
  assert.deepEqual(bytes, serializeSafetensors(tensors, { format: 'pt' }));

  const parsed = parseSafetensors(bytes);
  assert.deepEqual(contents(parsed.tensors), contents(tensors));
  assert.equal(parsed.metadata['format'], 'pt');

  const opened = openSafetensors(file);
  const read = new Map([...opened.infos.keys()].map((name) => [name, opened.read(name)]));
  assert.deepEqual(contents(read), contents(tensors));
  assert.throws(() => opened.read('c.weight'), FileError);
  opened.close();
});

test('a row is read alone as it is in its matrix, from memory, a file and shards', async () => {
  const data = Uint8Array.from({ length: 3 * 2 * 2 }, (_, i) => i + 1);
  const matrix = new Map<string, Tensor>([['m', { dtype: 'BF16', shape: [3, 2], data }]]);
  const shards = path.join(folder, 'shards');
  mkdirSync(shards);
  const [first, second] = ['1.safetensors', '2.safetensors'];
  await writeSafetensors(path.join(shards, first), memorySource(tensors));
  await writeSafetensors(path.join(shards, second), memorySource(matrix));
  const owners = [...[...tensors.keys()].map((name) => [name, first]), ['m', second]];
  const weight_map = Object.fromEntries(owners);
  writeFileSync(path.join(shards, 'model.safetensors.index.json'), JSON.stringify({ weight_map }));
  writeFileSync(path.join(shards, 'config.json'), '{}');
  const sources = [
    memorySource(matrix),
    openSafetensors(path.join(shards, second)),
    openFolder(shards).tensors,
  ];
  for (const source of sources) {
    for (const row of [0, 1, 2]) {
      const { dtype, shape, data: found } = source.readRow('m', row);
      assert.deepEqual([dtype, shape], ['BF16', [2]]);
      assert.deepEqual([...found], [...data.subarray(4 * row, 4 * row + 4)]);
    }
    assert.throws(() => source.readRow('m', 3), AssertionError);
    assert.throws(() => source.readRow('n', 0), FileError);
    source.close();
  }
});

test('the same tensors give the same bytes in any order, each tensor aligned to its dtype', () => {
  const bytes = serializeSafetensors(tensors);
  assert.deepEqual(serializeSafetensors(new Map([...tensors].reverse())), bytes);
  const { tensors: views } = parseSafetensors(bytes);
  assert.equal(views.get('a.weight')!.data.byteOffset % 4, 0);
  assert.equal(views.get('a.bias')!.data.byteOffset % 2, 0);
});

test('a source that fails leaves neither the file nor a temporary one', async () => {
  const name = 'fails.safetensors';
  const source = memorySource(tensors);
  const failing = {
    infos: source.infos,
    read(): Tensor {
      throw new Error('disk on fire');
    },
  };
  await assert.rejects(writeSafetensors(path.join(folder, name), failing), /disk on fire/);
  assert.deepEqual(
    readdirSync(folder).filter((file) => file.startsWith(name)),
    [],
  );
});

test('data at an unaligned offset is read exactly', () => {
  const header = '{"x":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}   ';
  assert.equal(header.length % 2, 1);
  const bytes = new Uint8Array(8 + header.length + 8);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(header.length), true);
  bytes.set(new TextEncoder().encode(header), 8);
  bytes.set(new Uint8Array(Float32Array.of(1.5, -0.25).buffer), 8 + header.length);
  const { tensors: views } = parseSafetensors(bytes);
  assert.deepEqual([...toFloat32(views.get('x')!)], [1.5, -0.25]);
});

test('a file that is truncated after its header is rejected when it is opened', () => {
  const file = path.join(folder, 'short.safetensors');
  writeFileSync(file, serializeSafetensors(tensors).subarray(0, -1));
  assert.throws(() => openSafetensors(file), FileError);
});

const golden = sharedPath('golden');
test('every golden file parses', { skip: skipUnless(golden) }, () => {
  const files = readdirSync(golden!, { recursive: true }) as string[];
  for (const file of files.filter((name) => name.endsWith('.safetensors'))) {
    const source = openSafetensors(path.join(golden!, file));
    assert.ok(source.infos.size > 0, file);
    source.close();
  }
});
