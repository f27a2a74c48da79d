// The instruction sets of a processor, from the text of /proc/cpuinfo on the kinds of machine that matter.
import assert from 'node:assert/strict';
import os from 'node:os';
import { test } from 'node:test';
import { describeProcessor, parseFeatures } from '../src/common/processor.ts';

const sapphireRapids =
  'processor : 0\nflags\t\t: fpu avx2 avx512f avx512_vnni avx_vnni amx_tile amx_int8\n';
const genoa = 'flags\t\t: fpu sse2 avx2 avx512f avx512_vnni\nbugs\t\t: sysret_ss_attrs\n';
const alderLake = 'flags\t\t: fpu avx2 avx_vnni\n';
const haswell = 'flags\t\t: fpu avx avx2 fma\n';
const graviton = 'Features\t: fp asimd asimddp i8mm bf16\n';

test('features are listed with the fastest for 8-bit products first', () => {
  const expected = [
    [sapphireRapids, ['amx', 'avx512-vnni', 'avx-vnni', 'avx512', 'avx2']],
    [genoa, ['avx512-vnni', 'avx512', 'avx2']],
    [alderLake, ['avx-vnni', 'avx2']],
    [haswell, ['avx2']],
    [graviton, ['i8mm', 'dotprod']],
  ] as const;
  for (const [cpuInfo, features] of expected) assert.deepEqual(parseFeatures(cpuInfo), features);
});

test('a processor without any of them differs from one that is not described', () => {
  assert.deepEqual(parseFeatures('flags : fpu sse2\n'), []);
  assert.equal(parseFeatures('processor : 0\n'), undefined);
  assert.equal(parseFeatures(''), undefined);
});

test('a name that only contains a flag is another flag', () => {
  assert.deepEqual(parseFeatures('flags : xavx2 avx512fp16 avx512_vnni_x\n'), []);
});

test('this machine has a model and cores', () => {
  const { model, cores, features } = describeProcessor();
  assert.notEqual(model, '');
  assert.equal(cores, os.availableParallelism());
  if (process.platform === 'linux') assert.ok(features, 'Linux lists flags');
});
