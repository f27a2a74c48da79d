// Commands that do not take an adapter of a resized vocabulary: each refuses it by the tensor that shows it, before it writes
// anything.
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { readAdapterFiles } from '../../adapters/peft/files.ts';
import { mergeModel } from '../../trainer/commands/merge.ts';
import { writeResizedAdapter } from '../e2e/toy-adapter.ts';
import { temporaryFolder } from '../fixtures.ts';
import { evaluateFiles, openToy, questions, runToy, writeRows } from './toy-runs.ts';

const REFUSED =
  /base_model\.model\.model\.embed_tokens\.weight: has 1026 tokens, the base has 1024: such an adapter can be served, but not trained, merged or evaluated/;

const COMMANDS: Readonly<
  Record<string, (t: TestContext, adapter: string, outDir: string) => Promise<unknown>>
> = {
  'a run that continues it': async (t, initAdapter) => {
    const data = writeRows(t, questions(8, 'It is blue.'));
    return runToy(t, { data, initAdapter, rank: undefined });
  },
  eval: async (_, adapter) => evaluateFiles(await readAdapterFiles(adapter)),
  merge: async (t, adapter, outDir) => mergeModel(openToy(t), adapter, { outDir, dtype: 'F32' }),
};

for (const [command, run] of Object.entries(COMMANDS)) {
  test(`${command}: an adapter of a resized vocabulary is refused by its tensor`, async (t) => {
    const folder = temporaryFolder(t);
    const adapter = writeResizedAdapter(path.join(folder, 'adapter'), 1);
    const outDir = path.join(folder, 'out');
    await assert.rejects(run(t, adapter, outDir), { message: REFUSED });
    assert.ok(!existsSync(outDir));
  });
}
