// The WebGPU provider on whatever driver there is: a GPU's, or SwiftShader's, which computes on the CPU (
// docs/gpu.md: Debian's chromium and libvulkan1). The engine's suite, all nodes on the device, and a server; with
// LORIKEET_E2E_LONG, logits of golden models and adapters.
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import path from 'node:path';
import { test as always, type TestContext } from 'node:test';
import { ConfigError } from '../../src/common/errors.ts';
import { openDeviceMemory } from '../../src/engine/memory/device-memory.ts';
import { openServingFolder } from '../../src/engine/serving-folder.ts';
import type { AdapterForm } from '../../src/model/lora-graph.ts';
import { servingGraph } from '../../src/model/serving-graph.ts';
import { FUSED_LINEAR_NAMES, TARGETS_OF } from '../../src/model/target-modules.ts';
import { createSession } from '../../src/ort/session.ts';
import { postJson } from '../api.ts';
import { dequantizedRunner } from '../engine/dequantized.ts';
import { engineSuite } from '../engine/engine-suite.ts';
import { goldenSuite, UNQUANTIZED } from '../engine/golden-suite.ts';
import { createRunner, runLogits, worstDifference } from '../engine/runner.ts';
import { servingFolder, temporaryFolder, tinyAdapter, tinyModel } from '../fixtures.ts';
import { skipUnlessLong, testUnless } from '../shared.ts';
import { runLorikeet, startServing } from './program.ts';
import { writeToyAdapter } from './toy-adapter.ts';

/** Where Debian's chromium has it. */
const SWIFTSHADER = '/usr/lib/chromium/vk_swiftshader_icd.json';
if (existsSync(SWIFTSHADER)) process.env['VK_ICD_FILENAMES'] ??= SWIFTSHADER;

const skip = whyNot();
const test = testUnless(skip);

function whyNot(): string | false {
  try {
    openDeviceMemory('webgpu');
    return false;
  } catch (error) {
    if (error instanceof ConfigError) return error.message;
    throw error;
  }
}

/** The limit for float32 logits of up to 10. As on the CPU, only the order of sums differs. */
const LIMIT = 2e-4;

goldenSuite('on WebGPU', {
  provider: 'webgpu',
  skip: skip || skipUnlessLong,
  forms: [UNQUANTIZED],
});
engineSuite('on WebGPU', { provider: 'webgpu', limit: LIMIT, skip });

const forms: (AdapterForm | undefined)[] = [
  undefined,
  { linears: FUSED_LINEAR_NAMES, parts: [] },
  { linears: ['attention_in'], parts: ['outputs', 'norms'] },
];

for (const weights of ['int8', 'f32'] as const) {
  test(`every node of a graph with ${weights} weights is on the device`, async (t) => {
    const served = openServingFolder(await servingFolder(t, tinyModel(), weights));
    const config = { 'session.disable_cpu_ep_fallback': '1' };
    for (const adapters of forms) {
      const graph = servingGraph({ ...served, maxSeqLength: 32, adapters, weightsAs: 'inputs' });
      const session = await createSession(graph, { provider: 'webgpu', config });
      session.release();
    }
  });
}

const TOKENS = [5, 17, 3, 90, 41, 8, 8, 63, 22, 71, 1, 30];

/** Returns the logits of a prompt's chunk in slot 1 with an adapter, then those of the next token. */
async function int8Logits({ runner, slots, config }: ReturnType<typeof createRunner>) {
  slots.attach(tinyAdapter(config, { seed: 7, rank: 3, targets: TARGETS_OF.separate }));
  const run = { firstSlot: 1, slots: [1] } as const;
  const logitRows = TOKENS.map((_, i) => i);
  const whole = { ...run, tokenIds: TOKENS, pastLengths: [0], logitRows };
  const next = { ...run, tokenIds: [9], pastLengths: [TOKENS.length], logitRows: [0] };
  return [await runLogits(runner, whole), await runLogits(runner, next)];
}

// Both providers round what is multiplied with them to 8 bits, too: in other places.
test("int8 weights are as near to the values that they stand for as the CPU's", async (t) => {
  const size = { slotCount: 3, maxSeqLength: 32 };
  for (const changes of [{}, { model_type: 'qwen2' }, { tie_word_embeddings: false }]) {
    const servingDir = await servingFolder(t, tinyModel(changes), 'int8');
    const want = await int8Logits(dequantizedRunner(t, openServingFolder(servingDir), size));
    const onCpu = await int8Logits(createRunner(t, servingDir, size));
    const got = await int8Logits(createRunner(t, servingDir, { ...size, provider: 'webgpu' }));
    for (const [i, logits] of got.entries()) {
      const [worst, cpu] = [logits, onCpu[i]!].map((one) => worstDifference(one, want[i]!));
      t.diagnostic(`off by ${worst!.toFixed(3)}, the CPU by ${cpu!.toFixed(3)}`);
      assert.ok(worst! < 1.5 * cpu!, `run ${i} is off by ${worst}, the CPU by ${cpu}`);
    }
  }
});

/** The greedy answers of a server with the base and two adapters, asked at once. */
async function answers(t: TestContext, provider: string, adapters: string): Promise<string[]> {
  const args = ['--provider', provider, '--weights', 'f32', '--model', 'models/toy'];
  const size = ['--slots', '4', '--max-seq', '64', '--adapters', adapters];
  const serving = await startServing([...args, ...size], temporaryFolder(t));
  try {
    const ask = async (model: string) => {
      const response = await postJson(`${serving.url}/v1/chat/completions`, {
        model,
        messages: [{ role: 'user', content: 'Hello' }],
        max_tokens: 12,
        temperature: 0,
      });
      assert.equal(response.status, 200);
      const { choices } = (await response.json()) as {
        choices: { message: { content: string } }[];
      };
      return choices[0]!.message.content;
    };
    return await Promise.all(['base', 'one', 'two'].map(ask));
  } finally {
    assert.equal(await serving.stop(), 0);
  }
}

test('a server on WebGPU answers chats as the CPU does, base and adapters at once', async (t) => {
  const adapters = temporaryFolder(t);
  for (const [i, name] of ['one', 'two'].entries()) {
    writeToyAdapter(path.join(adapters, name), i + 1);
  }
  const onDevice = await answers(t, 'webgpu', adapters);
  assert.deepEqual(onDevice, await answers(t, 'cpu', adapters));
  assert.equal(new Set(onDevice).size, 3, 'the adapters say something of their own');
});

const byVulkan = process.platform === 'linux' ? false : 'the driver is not chosen by Vulkan';

always(
  'a server without a driver exits with 78 and says why',
  {
    skip: byVulkan,
  },
  async (t) => {
    const args = ['serve', '--port', '0', '--model', 'models/toy', '--provider', 'webgpu'];
    const noDriver = { VK_ICD_FILENAMES: path.join(temporaryFolder(t), 'absent.json') };
    const { code, error } = await runLorikeet(args, temporaryFolder(t), noDriver);
    assert.equal(code, 78);
    assert.match(
      error,
      /--provider: webgpu is not available on this machine \(.+\)\. It needs a GPU .*--provider cpu\./,
    );
  },
);
