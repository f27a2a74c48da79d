// The committed base in f32 behind the real engine.
import type { TestContext } from 'node:test';
import { Engine } from '../../src/engine/engine.ts';
import { Grammars } from '../../src/grammar/grammars.ts';
import { readArtifact } from '../../src/import/artifact.ts';
import { loadTokenizer } from '../../src/tokenizer/tokenizer.ts';
import { ensureServingFiles } from '../ensure-serving-files.ts';
import { temporaryFolder } from '../fixtures.ts';

const TOY = 'models/toy';

/** Opens it for a test, with its tokenizer and its grammars. */
export async function openToy(t: TestContext, slotCount: number) {
  const artifact = readArtifact(TOY);
  const cacheDir = temporaryFolder(t);
  const servingDir = await ensureServingFiles(artifact, { weights: 'f32', cacheDir });
  artifact.tensors.close();
  const engine = await Engine.create({ servingDir, slotCount, maxSeqLength: 256 });
  t.after(() => engine.release());
  const tokenizer = (await loadTokenizer(TOY))!;
  return { engine, tokenizer, grammars: new Grammars(tokenizer, engine.info.vocabSize) };
}
