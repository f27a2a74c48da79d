// Command lines: what reaches the commands, and the exit code and text of each wrong one.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type ImportRequest, runCommandLine } from '../../src/cli/program.ts';
import type { Config } from '../../src/config.ts';
import { ConfigError, FileError } from '../../src/errors.ts';

interface Outcome {
  code: number;
  out: string;
  error: string;
  served: Config[];
  imported: ImportRequest[];
}

async function run(args: string[], failure?: Error): Promise<Outcome> {
  const outcome: Outcome = { code: -1, out: '', error: '', served: [], imported: [] };
  const commands = {
    async serve(config: Config) {
      if (failure) throw failure;
      outcome.served.push(config);
    },
    async import(request: ImportRequest) {
      if (failure) throw failure;
      outcome.imported.push(request);
    },
  };
  outcome.code = await runCommandLine(args, commands, {
    out: (text) => {
      outcome.out += text;
    },
    error: (text) => {
      outcome.error += text;
    },
  });
  return outcome;
}

test('flags of serve reach its settings', async () => {
  const { code, served } = await run(['serve', '--port', '0', '--max-seq', '64', '--weights=f32']);
  assert.equal(code, 0);
  assert.equal(served[0]?.port, 0);
  assert.equal(served[0]?.maxSeq, 64);
  assert.equal(served[0]?.weights, 'f32');
});

test('import quantizes to NF4 with double quantization by default', async () => {
  const { imported } = await run(['import', 'some/model', '--out', 'x']);
  assert.deepEqual(imported, [
    {
      source: 'some/model',
      outDir: 'x',
      quantization: 'nf4',
      doubleQuantization: true,
      isJson: false,
    },
  ]);
});

test('import takes the documented values only', async () => {
  const none = await run('import m --out x --quantization none'.split(' '));
  assert.equal(none.imported[0]?.quantization, 'none');
  const flat = await run('import m --out x --double-quantization false'.split(' '));
  assert.equal(flat.imported[0]?.doubleQuantization, false);
  assert.equal((await run('import m --out x --quantization int3'.split(' '))).code, 2);
});

for (const args of [
  ['serve', '--prot', '1'],
  ['fly'],
  ['import'],
  ['import', 'm'],
  ['serve', '--port'],
  ['serve', 'extra'],
]) {
  test(`"${args.join(' ')}" is a wrong command line: exit 2`, async () => {
    const { code, error, served } = await run(args);
    assert.equal(code, 2);
    assert.match(error, /^error: /);
    assert.equal(served.length, 0);
  });
}

test('a wrong setting exits 78 with one line per fault', async () => {
  const { code, error } = await run(['serve', '--port', '8080x', '--slots', '0']);
  assert.equal(code, 78);
  assert.deepEqual(
    error
      .trimEnd()
      .split('\n')
      .map((line) => line.split(' ')[1]),
    ['--port:', '--slots:'],
  );
});

test('a secret on the command line is refused and not repeated', async () => {
  for (const args of [
    ['serve', '--hf-token=hf_secret'],
    ['serve', '--api-key', 'hf_secret'],
  ]) {
    const { code, error } = await run(args);
    assert.equal(code, 78);
    assert(!error.includes('hf_secret'));
  }
});

test('an unknown option is named without its value', async () => {
  const { code, error } = await run(['serve', '--pw=hf_secret']);
  assert.equal(code, 2);
  assert.match(error, /--pw/);
  assert(!error.includes('hf_secret'));
});

test('the failures of a command have their own exit codes', async () => {
  const code = async (failure: Error) => (await run(['serve'], failure)).code;
  assert.equal(await code(new ConfigError(['--model: no such model'])), 78);
  assert.equal(await code(new FileError('config.json', 'is no JSON')), 1);
  assert.equal(await code(new Error('boom')), 1);
});

test('--version, --help and --print-config print to standard output and exit 0', async () => {
  assert.match((await run(['--version'])).out, /^\d+\.\d+\.\d+\n$/);
  const help = await run(['serve', '--help']);
  assert.equal(help.code, 0);
  assert.match(help.out, /--max-seq[\s\S]*LORIKEET_HOME[\s\S]*Examples:/);
  const shown = await run(['serve', '--print-config', '--slots', '3']);
  assert.equal(shown.served.length, 0);
  assert.equal(JSON.parse(shown.out).slots, 3);
});
