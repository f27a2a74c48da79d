// The catalogue of bases: each shape has the number of parameters that its authors publish, and the list tells what is here.
import assert from 'node:assert/strict';
import { cpSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { CATALOGUE_NAMES, configOfShape, findInCatalogue } from '../../src/import/catalogue.ts';
import { parameterCount } from '../../src/model/names.ts';
import { runCommand } from '../cli/command.ts';
import { temporaryFolder } from '../fixtures.ts';

/** From the hub's safetensors metadata; without tied heads. */
const PUBLISHED: Readonly<Record<string, number>> = {
  'HuggingFaceTB/SmolLM2-135M-Instruct': 134_515_008,
  'HuggingFaceTB/SmolLM2-360M-Instruct': 361_821_120,
  'HuggingFaceTB/SmolLM2-1.7B-Instruct': 1_711_376_384,
  'Qwen/Qwen2.5-0.5B-Instruct': 494_032_768,
  'Qwen/Qwen2.5-1.5B-Instruct': 1_543_714_304,
  'Qwen/Qwen2.5-3B-Instruct': 3_085_938_688,
  'Qwen/Qwen2.5-7B-Instruct': 7_615_616_512,
  'Qwen/Qwen2.5-Coder-0.5B-Instruct': 494_032_768,
  'Qwen/Qwen2.5-Coder-1.5B-Instruct': 1_543_714_304,
  'Qwen/Qwen2.5-Coder-3B-Instruct': 3_085_938_688,
  'Qwen/Qwen2.5-Coder-7B-Instruct': 7_615_616_512,
  'meta-llama/Llama-3.2-1B-Instruct': 1_235_814_400,
  'meta-llama/Llama-3.2-3B-Instruct': 3_212_749_824,
  'meta-llama/Llama-3.1-8B-Instruct': 8_030_261_248,
  'google/gemma-2-2b-it': 2_614_341_888,
  'google/gemma-2-9b-it': 9_241_705_984,
  'microsoft/Phi-3.5-mini-instruct': 3_821_079_552,
};

test('every base on the hub has the published number of parameters', () => {
  const counts = CATALOGUE_NAMES.map((name) => findInCatalogue(name)!).flatMap((entry) =>
    entry.kind === 'hub' ? [[entry.id, parameterCount(configOfShape(entry))]] : [],
  );
  assert.deepEqual(Object.fromEntries(counts), PUBLISHED);
});

test('every name means one commit of the hub, or one file of PyPI', () => {
  for (const name of CATALOGUE_NAMES) {
    const entry = findInCatalogue(name)!;
    const [pin, length] = entry.kind === 'hub' ? [entry.commit, 40] : [entry.wheel.sha256, 64];
    assert.match(pin, new RegExp(`^[0-9a-f]{${length}}$`), name);
  }
});

test('the list shows sizes, and the bases that are on this disk, also from elsewhere', async () => {
  const home = temporaryFolder();
  process.env['LORIKEET_HOME'] = home;
  for (const name of ['mine', 'smollm2-135m-instruct']) {
    cpSync('models/toy', path.join(home, 'models', name), { recursive: true });
  }
  const { out, code, error } = await runCommand(['models', '--json']);
  assert.equal(code, 0, error);
  const models = JSON.parse(out) as {
    name: string;
    isImported: boolean;
    built: string[];
    download: number;
  }[];
  const imported = models.filter(({ isImported }) => isImported).map(({ name }) => name);
  assert.deepEqual(imported.sort(), ['mine', 'smollm2-135m-instruct']);
  assert.deepEqual(models.find(({ name }) => name === 'mine')?.built, []);
  const qwen = models.find(({ name }) => name === 'qwen2.5-0.5b-instruct');
  assert.equal(qwen?.download, 2 * PUBLISHED['Qwen/Qwen2.5-0.5B-Instruct']!);
  const table = await runCommand(['models']);
  assert.match(
    table.out,
    /^qwen2\.5-7b-instruct +32,768 +15\.2 GB +7\.7 GB +5\.5 GB +4\.8 GB .*Apache-2\.0$/m,
  );
});
