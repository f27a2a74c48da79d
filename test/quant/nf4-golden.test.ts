import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import test from 'node:test';
import { type FloatDType, fromFloat32, toFloat32 } from '../../src/common/tensor.ts';
import { openSafetensors } from '../../src/formats/safetensors.ts';
import { DYNAMIC_MAP, doubleQuantize, restoreAbsmax } from '../../src/quant/double-quant.ts';
import { dequantizeNf4, NF4_CODEBOOK, quantizeNf4 } from '../../src/quant/nf4.ts';
import { sharedPath, skipUnless } from '../shared.ts';

const folder = sharedPath('golden', 'nf4');
const skip = skipUnless(folder);
const names = folder ? Object.keys(JSON.parse(readFileSync(`${folder}/cases.json`, 'utf8'))) : [];
const golden = folder ? openSafetensors(`${folder}/cases.safetensors`) : undefined;
const floats = (name: string) => toFloat32(golden!.read(name));
const bytes = (name: string) => golden!.read(name).data;

test('codebook and dynamic map equal those of bitsandbytes', { skip }, () => {
  assert.deepEqual(NF4_CODEBOOK, floats('code'));
  assert.deepEqual(DYNAMIC_MAP, floats('nested_code'));
});

for (const name of names) {
  test(`${name}: codes, scales and values equal bitsandbytes’ to the bit`, () => {
    const weight = golden!.read(`${name}.weight`);
    const values = toFloat32(weight);
    const { packed, absmax } = quantizeNf4(values);
    assert.deepEqual(packed, bytes(`${name}.packed`));
    assert.deepEqual(absmax, floats(`${name}.absmax`));

    const nested = doubleQuantize(absmax);
    assert.deepEqual(nested.codes, bytes(`${name}.dq.absmax`));
    assert.deepEqual(nested.nestedAbsmax, floats(`${name}.dq.nested_absmax`));
    assert.equal(nested.offset, floats(`${name}.dq.offset`)[0]);
    const restored = restoreAbsmax(nested);
    assert.deepEqual(restored, floats(`${name}.dq.restored_absmax`));

    const dequantized = (scales: Float32Array) => {
      const found = dequantizeNf4(packed, scales, values.length);
      return fromFloat32(found, weight.shape, weight.dtype as FloatDType).data;
    };
    assert.deepEqual(dequantized(absmax), bytes(`${name}.dequant`));
    assert.deepEqual(dequantized(restored), bytes(`${name}.dq.dequant`));
  });
}
