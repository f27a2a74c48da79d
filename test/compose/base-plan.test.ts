// The form of the weights that `--weights auto` chooses.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { settingsFor } from '../../src/compose/base-plan.ts';
import { usablePackings } from '../../src/engine/int8-form.ts';
import { parseDecoderConfig } from '../../src/model/config.ts';
import { loadConfig } from '../../src/settings/config.ts';
import { SMOLLM2 } from '../fixtures.ts';

/** The shape of Llama-3.1-8B: 8.1 GB in int8, 5.4 in int4. */
const LARGE = parseDecoderConfig({
  ...SMOLLM2,
  ...{ hidden_size: 4096, intermediate_size: 14336, num_hidden_layers: 32, vocab_size: 128_256 },
  ...{ num_attention_heads: 32, num_key_value_heads: 8, tie_word_embeddings: false },
});
const OF = { weights: 'int4', provider: 'cpu', config: LARGE } as const;
const skip = usablePackings(OF).length === 0 && 'our own operators do not run on this machine';

const chosen = (gigabytes: number, flags: Parameters<typeof loadConfig>[0] = {}) => {
  const config = loadConfig({ weights: 'auto', ...flags }, { HOME: '/' });
  return settingsFor(LARGE, config, { bytes: gigabytes * 1e9, source: 'a test' });
};

test('auto is int8 if the server has room for all that it was asked for, else int4', {
  skip,
}, () => {
  const roomy = chosen(64);
  assert.equal(roomy.settings.weights, 'int8');
  assert.match(roomy.reason!, /^int8, whose 8\.\d GB fit the memory limit of 64/);
  for (const gigabytes of [8, 10]) {
    const tight = chosen(gigabytes);
    assert.equal(tight.settings.weights, 'int4');
    assert.match(tight.reason!, /^int4, because with the 8\.\d GB of int8/);
  }
});

test('a form that was asked for is kept, and auto on a device is the default of the device', () => {
  assert.deepEqual(chosen(8, { weights: 'int8' }).reason, undefined);
  assert.equal(chosen(8, { weights: 'int8' }).settings.weights, 'int8');
  assert.equal(chosen(8, { provider: 'cuda' }).settings.weights, 'nf4');
  assert.equal(loadConfig({ weights: 'auto', batchInvariant: 'on' }, {}).batchInvariant, 'on');
});
