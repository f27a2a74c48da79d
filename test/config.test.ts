// Settings from environment variables and flags: precedence, defaults, and each kind of fault.
import assert from 'node:assert/strict';
import path from 'node:path';
import { test } from 'node:test';
import { ConfigError } from '../src/common/errors.ts';
import { type Environment, type Flags, loadConfig, redactConfig } from '../src/settings/config.ts';

const HOME = { HOME: '/home/someone' };

function faultsOf(env: Environment, flags: Flags = {}): readonly string[] {
  try {
    loadConfig(flags, { ...HOME, ...env });
  } catch (error) {
    assert(error instanceof ConfigError);
    return error.faults;
  }
  return [];
}

test('an empty environment gives the documented defaults', () => {
  const config = loadConfig({}, HOME);
  assert.equal(config.host, '127.0.0.1');
  assert.equal(config.port, 8080);
  assert.equal(config.slots, undefined);
  assert.equal(config.maxWaiting, 256);
  assert.equal(config.model, undefined);
  assert.equal(config.maxSeq, undefined);
  assert.equal(config.home, '/home/someone/.local/share/lorikeet');
  assert.equal(config.hfHome, '/home/someone/.cache/huggingface');
  assert(Object.isFrozen(config));
});

test('a flag overrides its variable', () => {
  const config = loadConfig({ port: '9000' }, { ...HOME, PORT: '7000', LORIKEET_SLOTS: '4' });
  assert.equal(config.port, 9000);
  assert.equal(config.slots, 4);
});

test('an empty variable counts as unset', () => {
  assert.equal(loadConfig({}, { ...HOME, PORT: '' }).port, 8080);
});

test('the data folder follows LORIKEET_HOME, then XDG_DATA_HOME', () => {
  assert.equal(loadConfig({}, { ...HOME, XDG_DATA_HOME: '/data' }).home, '/data/lorikeet');
  assert.equal(loadConfig({}, { ...HOME, LORIKEET_HOME: 'here' }).home, path.resolve('here'));
});

test('the prefix cache has a size, or is off', () => {
  const bytes = (value: string) => loadConfig({ prefixCacheBytes: value }, HOME).prefixCacheBytes;
  assert.deepEqual([bytes('512M'), bytes('off')], [2 ** 29, 0]);
  assert.throws(() => bytes('none'), /--prefix-cache.*must be off, or a size of at least 1M/);
});

test('a socket for events has an address and a port', () => {
  const address = (value: string) => loadConfig({ kvEvents: value }, HOME).kvEvents;
  assert.deepEqual(address('tcp://127.0.0.1:5557'), { host: '127.0.0.1', port: 5557 });
  assert.deepEqual(address('tcp://*:5557'), { host: '::', port: 5557 });
  assert.deepEqual(address('tcp://[::1]:1'), { host: '::1', port: 1 });
  for (const wrong of ['5557', 'tcp://*', 'tcp://:5557', 'ipc:///tmp/x', 'tcp://a:70000']) {
    assert.throws(() => address(wrong), /--kv-events: must (be tcp|have a port)/);
  }
  const pod = { LORIKEET_KV_EVENTS_POD: 'a@b' };
  assert.deepEqual(faultsOf(pod), [
    'LORIKEET_KV_EVENTS_POD: must have 1 to 253 characters without @',
  ]);
});

test('responses are kept for a time, at most 30 days', () => {
  const ms = (value: string) => loadConfig({ storeResponsesMs: value }, HOME).storeResponsesMs;
  assert.deepEqual([ms('30m'), ms('24h'), ms('7d')], [1_800_000, 86_400_000, 604_800_000]);
  for (const wrong of ['0m', '31d', '24', 'h', '1.5h', '-1h']) {
    assert.throws(() => ms(wrong), /--store-responses.*must be a time from 1m to 30d/);
  }
});

test('sizes may have units', () => {
  const bytes = (value: string) => loadConfig({ adapterCacheBytes: value }, HOME).adapterCacheBytes;
  assert.equal(bytes('1048576'), 2 ** 20);
  assert.equal(bytes('512M'), 2 ** 29);
  assert.equal(bytes('2GiB'), 2 ** 31);
});

test('origins are converted to the form that browsers send', () => {
  const origins = (value: string) => loadConfig({ allowedOrigins: value }, HOME).allowedOrigins;
  assert.deepEqual(origins('https://App.example:443, http://localhost:3000,tauri://localhost'), [
    'https://app.example',
    'http://localhost:3000',
    'tauri://localhost',
  ]);
  assert.deepEqual(origins('*'), ['*']);
  for (const value of [
    'null',
    'app.example',
    'https://a.example/',
    'https://*.example',
    'https://u@a',
  ]) {
    assert.match(
      faultsOf({}, { allowedOrigins: value }).join(),
      /^--allowed-origins: must be origins/,
      value,
    );
  }
});

test('the format of the weights is the requested one, or else the first of the provider', () => {
  assert.equal(loadConfig({}, HOME).weights, 'int8');
  assert.equal(loadConfig({ provider: 'webgpu' }, HOME).weights, 'int8');
  assert.equal(loadConfig({ provider: 'cuda' }, HOME).weights, 'nf4');
  assert.equal(loadConfig({ provider: 'cuda', weights: 'f32' }, HOME).weights, 'f32');
  assert.equal(loadConfig({ kv: 'int8' }, HOME).kv, 'int8');
  assert.equal(loadConfig({ weights: 'f32' }, HOME).kv, 'f16');
});

const NAMED_FAULTS: [string, Environment, RegExp][] = [
  ['a port with letters', { PORT: '8080x' }, /^PORT: must be a whole number/],
  ['port 0 from the environment', { PORT: '0' }, /^PORT: must be a whole number from 1/],
  ['a port above 65535', { PORT: '70000' }, /^PORT: /],
  ['a negative size', { LORIKEET_ADAPTER_CACHE: '-5' }, /^LORIKEET_ADAPTER_CACHE: must be a size/],
  ['slots 0', { LORIKEET_SLOTS: '0' }, /^LORIKEET_SLOTS: must be a whole number from 1/],
  ['an unknown variable of ours', { LORIKEET_PROT: '1' }, /^LORIKEET_PROT: unknown setting/],
  ['a carriage return', { HOST: '127.0.0.1\r' }, /^HOST: contains a control character/],
  [
    'an unknown format of the cache',
    { LORIKEET_KV: 'int4' },
    /^LORIKEET_KV: must be int8, f16 or f32/,
  ],
  [
    'an int8 cache on a device',
    { LORIKEET_PROVIDER: 'webgpu', LORIKEET_KV: 'int8' },
    /^LORIKEET_KV: webgpu keeps its cache in its own float type/,
  ],
  [
    'batch invariance in float32',
    { LORIKEET_BATCH_INVARIANT: 'on', LORIKEET_WEIGHTS: 'f32' },
    /^LORIKEET_BATCH_INVARIANT: holds for int8 and int4 on the CPU only/,
  ],
  [
    'batch invariance with drafts',
    { LORIKEET_BATCH_INVARIANT: 'on', LORIKEET_DRAFTS: 'ngram' },
    /^LORIKEET_DRAFTS: completions with drafts depend on other requests/,
  ],
  ['an unknown weights mode', { LORIKEET_WEIGHTS: 'fp8' }, /^LORIKEET_WEIGHTS: must be int8/],
  ['an unknown provider', { LORIKEET_PROVIDER: 'tpu' }, /^LORIKEET_PROVIDER: must be cpu, webgpu/],
  [
    'a format of weights that the provider lacks',
    { LORIKEET_PROVIDER: 'webgpu', LORIKEET_WEIGHTS: 'nf4' },
    /^LORIKEET_WEIGHTS: webgpu serves int8 and f32 only$/,
  ],
  ['an endpoint that is not a URL', { HF_ENDPOINT: 'hub' }, /^HF_ENDPOINT: must be an http/],
  ['an unknown log level', { LOG_LEVEL: 'loud' }, /^LOG_LEVEL: /],
];

for (const [what, env, line] of NAMED_FAULTS) {
  test(`B66: ${what} is one fault that names the variable`, () => {
    const faults = faultsOf(env);
    assert.equal(faults.length, 1);
    assert.match(faults[0]!, line);
  });
}

test('a fault in a flag names the flag', () => {
  assert.match(faultsOf({ PORT: '80' }, { port: '1e3' })[0]!, /^--port: /);
});

test('port 0 is accepted only as a flag', () => {
  assert.equal(loadConfig({ port: '0' }, HOME).port, 0);
});

test('several faults are several lines', () => {
  assert.equal(faultsOf({ PORT: '0x50', LORIKEET_SLOTS: 'many', LORIKEET_X: '' }).length, 3);
});

test('neither faults nor redacted settings contain a secret', () => {
  const secret = 'hf_veryverysecret';
  const faults = faultsOf({ HF_TOKEN: `${secret}\r\n`, PORT: 'x' }).join('\n');
  assert.match(faults, /HF_TOKEN: /);
  assert(!faults.includes(secret));
  const shown = JSON.stringify(redactConfig(loadConfig({}, { ...HOME, HF_TOKEN: secret })));
  assert(!shown.includes(secret));
  assert.match(shown, /"hfToken":"\[redacted\]"/);
});

test('a path prefix is refused if URLs cannot have it', () => {
  const basePath = (value: string) => loadConfig({ basePath: value }, {}).basePath;
  for (const value of ['/openai', '/a/b.c', '/..a', '/a..']) assert.equal(basePath(value), value);
  for (const value of ['/a/../b', '/..', '/.', '/./a', '/a/.', 'a', '/', '/a/', '//a'])
    assert.throws(() => basePath(value), /^ConfigError: --base-path: must be a path such as/);
});
