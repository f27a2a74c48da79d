import assert from 'node:assert/strict';
import test from 'node:test';
import { readArtifact, readLinear } from '../../src/import/artifact.ts';
import { moduleName, TARGETS_OF } from '../../src/model/target-modules.ts';
import { loadTokenizer } from '../../src/tokenizer/tokenizer.ts';

const TOY = 'models/toy';

/** From glassllm 0.1.0's own tokenizer. */
const ENCODED: [text: string, ids: number[]][] = [
  ['Alice was beginning to get very tired', [494, 160, 729, 633, 111, 421, 268, 92, 64, 259]],
  ['  two  spaces   three ', [91, 500, 91, 986, 237, 124, 91, 91, 895, 91]],
  ['line one\nline two\n\n', [67, 687, 257, 4, 67, 687, 500, 4, 4]],
  [
    '\u201cCuriouser and curiouser!\u201d cried Alice\u2014\u2018no\u2019',
    [873, 179, 476, 105, 120, 757, 476, 105, 153, 668, 207, 86, 87, 128, 88],
  ],
  ['cafe\u0301 \ud83d\ude00 tab\there', [58, 56, 61, 1, 91, 1, 92, 319, 1, 732]],
  ['1234 \u00c6ON \u00f9', [15, 16, 17, 18, 91, 84, 41, 40, 91, 85]],
];

test('the committed base is a whole artifact with its linears in NF4', () => {
  const artifact = readArtifact(TOY);
  assert.equal(artifact.info.name, 'toy');
  assert.equal(artifact.config.tiedEmbeddings, true);
  for (let layer = 0; layer < artifact.config.layerCount; layer++) {
    for (const target of TARGETS_OF.separate) {
      const linear = readLinear(artifact, moduleName(layer, target));
      assert.equal(linear.kind, 'nf4');
      assert.equal(linear.cols % 64, 0);
    }
  }
  artifact.tensors.close();
});

test('its tokenizer gives the ids of the package that it comes from', async () => {
  const tokenizer = await loadTokenizer(TOY);
  for (const [text, ids] of ENCODED) {
    assert.deepEqual(tokenizer!.encode(text, { specials: false }), ids, text);
  }
});
