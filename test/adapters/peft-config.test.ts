import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseAdapterConfig } from '../../adapters/peft/peft-config.ts';
import { moduleName, TARGETS_OF } from '../../src/model/target-modules.ts';
import { configBytes } from './sample.ts';

const MODULES = [0, 1, 2].flatMap((layer) => TARGETS_OF.separate.map((t) => moduleName(layer, t)));
const parse = (changes: Record<string, unknown>) =>
  parseAdapterConfig(configBytes(changes), MODULES);
const targetsOf = async (changes: Record<string, unknown>) =>
  MODULES.filter((await parse(changes)).isTargeted);
const only = (...ends: string[]) => MODULES.filter((m) => ends.some((e) => m.endsWith(`.${e}`)));

/** The third: the place that is named, if it is not the field's name. */
const REFUSED: readonly (readonly [field: string, value: unknown, place?: string])[] = [
  ['peft_type', 'IA3'],
  ['peft_type', undefined],
  ['use_dora', 'yes'],
  ['bias', 'some'],
  ['lora_bias', 1],
  ['modules_to_save', 'lm_head'],
  ['ensure_weight_tying', 'yes'],
  ['fan_in_fan_out', true],
  ['trainable_token_indices', [-1], 'trainable_token_indices[0]'],
  ['trainable_token_indices', { score: [1] }],
  ['layer_replication', [[0, 2]]],
  ['alora_invocation_tokens', []],
  ['alora_invocation_tokens', [-7], 'alora_invocation_tokens[0]'],
  ['target_parameters', ['experts.weight']],
  ['use_qalora', true],
  ['use_bdlora', { target_modules_bd_a: [] }],
  ['megatron_config', { tensor_model_parallel_size: 2 }],
  ['loftq_config', { loftq_bits: 4 }],
  ['corda_config', { corda_method: 'kpm' }],
  ['lora_ga_config', { scale: 'stable' }],
  ['velora_config', { scale: 1 }],
  ['monteclora_config', { n: 2 }],
  ['kasa_config', { beta: 1 }],
  ['arrow_config', { top_k: 3 }],
  ['task_type', 'TOKEN_CLS'],
  ['auto_mapping', { base_model_class: 'Custom', parent_library: 'os' }],
  ['auto_mapping', { base_model_class: 'LlamaForCausalLM', parent_library: 'os' }],
  ['auto_mapping', 'LlamaForCausalLM'],
  ...['pissa', 'pissa_niter_16', 'olora', 'corda', 'loftq', 'lora_ga', 'unheard'].map(
    (init) => ['init_lora_weights', init] as const,
  ),
  ...[undefined, null, 0, -1, 1.5, 513, '8', true].map((r) => ['r', r] as const),
  ...[undefined, null, 0, '16', true].map((alpha) => ['lora_alpha', alpha] as const),
  ['use_rslora', 'yes'],
  ['target_modules', undefined],
  ['target_modules', 7],
  ['target_modules', [7]],
  ['target_modules', Array(5000).fill('q_proj')],
  ['exclude_modules', 7],
  ['rank_pattern', { v_proj: 1, q_proj: 0 }, 'rank_pattern[1]'],
  ['rank_pattern', { q_proj: 513 }, 'rank_pattern[0]'],
  ['rank_pattern', ['q_proj']],
  ['alpha_pattern', { q_proj: 'many' }, 'alpha_pattern[0]'],
  ['layers_to_transform', [-1], 'layers_to_transform[0]'],
  ['layers_to_transform', ['0']],
  ['layers_pattern', 'layers'],
  ['base_model_name_or_path', 7],
];

test('what cannot be served exactly is refused by the name of its field', async () => {
  for (const [field, value, param = field] of REFUSED) {
    const expected = { name: 'ServeError', code: 'adapter_invalid', status: 422, param };
    const what = `${field}: ${JSON.stringify(value)}`;
    await assert.rejects(parse({ [field]: value }), expected, what);
  }
});

test('bytes that are no JSON object are refused', async () => {
  for (const text of ['', '{', '[]', 'null', '7', '"x"', '{"r":NaN}', '{"a":1}{"b":2}', '\u0000']) {
    const bytes = new TextEncoder().encode(text);
    await assert.rejects(parseAdapterConfig(bytes, []), { param: 'adapter_config.json' }, text);
  }
  await assert.rejects(parseAdapterConfig(Uint8Array.of(0x7b, 0xff, 0x7d), []), { status: 422 });
});

test('switched-off variants, unknown keys and what only training used are accepted', async () => {
  const config = await parse({
    use_dora: false,
    modules_to_save: null,
    loftq_config: {},
    target_parameters: [],
    init_lora_weights: 'eva',
    eva_config: { rho: 2 },
    lora_dropout: 0.1,
    inference_mode: true,
    field_of_next_year: { nested: true },
    auto_mapping: {
      base_model_class: 'LlamaForCausalLM',
      parent_library: 'transformers.models.llama.modeling_llama',
    },
  });
  assert.equal(config.baseModel, 'sample');
});

test('a prototype key in the file changes nothing', async () => {
  const bytes = new TextEncoder().encode(
    '{"__proto__":{"use_dora":true},"peft_type":"LORA","r":2,"lora_alpha":4,"target_modules":["q_proj"],"rank_pattern":{"__proto__":8,"constructor":7}}',
  );
  const config = await parseAdapterConfig(bytes, MODULES);
  assert.equal(config.settingOf('model.layers.0.self_attn.q_proj').rank, 2);
});

test('targets follow the rules of peft', async () => {
  const EXCLUDED = ['mlp.up_proj', 'q_proj', 'k_proj', 'v_proj', 'o_proj', 'gate_proj'];
  const qv = only('q_proj', 'v_proj');
  const cases: readonly (readonly [Record<string, unknown>, string[]])[] = [
    [{ target_modules: ['q_proj', 'unheard'] }, only('q_proj')],
    [{ target_modules: ['proj'] }, []],
    [{ target_modules: ['mlp.up_proj'] }, only('up_proj')],
    [{ target_modules: null }, qv],
    [{ target_modules: 'All-Linear' }, MODULES],
    [{ target_modules: 'q_proj' }, []],
    [{ target_modules: '.*q_proj|.*o_proj' }, only('q_proj', 'o_proj')],
    [{ target_modules: '.*\\.[01]\\..*(up|down)_proj' }, only('up_proj', 'down_proj').slice(0, 4)],
    [{ exclude_modules: ['v_proj'] }, only('q_proj')],
    [{ exclude_modules: '.*\\.v_proj' }, only('q_proj')],
    [{ target_modules: 'all-linear', exclude_modules: EXCLUDED }, only('down_proj')],
    [{ layers_to_transform: 1 }, qv.filter((m) => m.includes('.1.'))],
    [{ layers_to_transform: [0, 2, 9] }, qv.filter((m) => !m.includes('.1.'))],
    [{ layers_to_transform: [] }, qv],
    [{ layers_to_transform: [2], layers_pattern: 'layers' }, qv.slice(-2)],
    [{ layers_to_transform: [2], layers_pattern: ['h', 'layers'] }, qv.slice(-2)],
    [{ layers_to_transform: [2], layers_pattern: ['blocks'] }, []],
    [{ layers_to_transform: [2], target_modules: [MODULES[0]] }, [MODULES[0]!]],
  ];
  for (const [changes, expected] of cases) {
    const found = await targetsOf(changes);
    assert.deepEqual(found.sort(), [...expected].sort(), JSON.stringify(changes));
  }
});

test('layers cannot be chosen together with an expression', async () => {
  const changes = { target_modules: '.*q_proj', layers_to_transform: [0] };
  await assert.rejects(parse(changes), { param: 'layers_to_transform' });
});

test('the first pattern that matches gives a module its rank and its alpha', async () => {
  const config = await parse({
    r: 4,
    lora_alpha: 8,
    rank_pattern: {
      '^model\\.layers\\.0\\..*q_proj': 16,
      q_proj: 2,
      'layers.1.self_attn.q_proj': 32,
    },
    alpha_pattern: { 'layers.1.self_attn.q_proj': 3, '(k|q)_proj': 6, roj: 1 },
  });
  assert.deepEqual(config.settingOf(moduleName(0, 'q_proj')), { rank: 16, scaling: 6 / 16 });
  assert.deepEqual(config.settingOf(moduleName(1, 'q_proj')), { rank: 2, scaling: 3 / 2 });
  assert.deepEqual(config.settingOf(moduleName(2, 'k_proj')), { rank: 4, scaling: 6 / 4 });
  assert.deepEqual(config.settingOf(moduleName(2, 'v_proj')), { rank: 4, scaling: 2 });
});

test('keys without operators match as the expression they are', async () => {
  const keys = [
    ['q_proj', 'layers.1.self_attn.q_proj', 'layers.1', 'self_attn.q.proj', '.', '..', '_proj'],
    ['model.layers.2.mlp.up_proj', 'xmodel.layers.2.mlp.up_proj', 'attn.q_proj', 'q_proj$'],
    ['^q_proj', '^model.layers.1.self_attn.q_proj$', '^model\\.layers\\.1\\.self_attn\\.q_proj'],
    ['self_attn\\.q\\.proj'],
  ].flat();
  for (const key of keys) {
    const config = await parse({ rank_pattern: { [key]: 77 } });
    const plain = new RegExp(`^(.*\\.)?(${key})$`);
    for (const module of MODULES) {
      assert.equal(config.settingOf(module).rank === 77, plain.test(module), `${key} on ${module}`);
    }
  }
});

test('B53: rsLoRA divides by the root of the rank', async () => {
  const config = await parse({
    r: 16,
    lora_alpha: 8,
    use_rslora: true,
    rank_pattern: { v_proj: 4 },
  });
  assert.equal(config.settingOf(moduleName(0, 'q_proj')).scaling, 2);
  assert.equal(config.settingOf(moduleName(0, 'v_proj')).scaling, 4);
});

test('a scaling over the cap is refused, either sign', async () => {
  const at = async (changes: Record<string, unknown>) =>
    (await parse(changes)).settingOf(moduleName(0, 'q_proj'));
  assert.equal((await at({ r: 1, lora_alpha: 64 })).scaling, 64);
  assert.equal((await at({ r: 1, lora_alpha: -64 })).scaling, -64);
  for (const lora_alpha of [65, -65, 1e30]) {
    await assert.rejects(at({ r: 1, lora_alpha }), { param: 'lora_alpha', status: 422 });
  }
  await assert.rejects(at({ r: 64, lora_alpha: 1024, use_rslora: true }), { param: 'lora_alpha' });
});

test('a pattern that a linear engine cannot read is refused by name', async () => {
  for (const pattern of [
    ...['(?=a)b', '(?<!a)b', '(a)\\1', 'a++', '(', 'a)|(b', 'a{,5}', '[[:alpha:]]', '(?i)[\\pL]'],
    ...[
      'a\\\\\\pL',
      '[\\x{61}]',
      'é_proj',
      'x'.repeat(2049),
      '(.{1000}){1000}',
      '.{1000}'.repeat(100),
    ],
  ]) {
    const targets = parse({ target_modules: pattern });
    await assert.rejects(targets, { param: 'target_modules' }, pattern);
    const ranks = parse({ rank_pattern: { q_proj: 2, [pattern]: 2 } });
    await assert.rejects(ranks, { param: 'rank_pattern[1]' }, pattern);
  }
});

test('B55: a catastrophic pattern takes linear time', async () => {
  // A backtracking engine takes 2^n steps on these names: the test would not end.
  const long = 'a'.repeat(20_000);
  const bytes = configBytes({ target_modules: '([a-z_.0-9]*)*([a-z_.0-9]+)+!' });
  assert.equal((await parseAdapterConfig(bytes, [long])).isTargeted(long), false);
});
