// Command lines: what reaches the commands, and the exit code and text of each wrong one.
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, symlinkSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { runCommandLine } from '../../src/cli/command-line.ts';
import type { Programs } from '../../src/cli/programs.ts';
import { ConfigError, FileError } from '../../src/common/errors.ts';
import { VERSION } from '../../src/common/version.ts';
import type { ServingImport } from '../../src/compose/imported-base.ts';
import type { TrainerRequest } from '../../src/contracts/training-messages.ts';
import type { Config } from '../../src/settings/config.ts';
import { temporaryFolder } from '../fixtures.ts';
import { MAIN } from './command.ts';

interface Outcome {
  code: number;
  out: string;
  error: string;
  served: Config[];
  imported: ServingImport[];
  trained: TrainerRequest[];
  attempts: string[];
}

async function run(args: string[], failure?: Error): Promise<Outcome> {
  const nothing = { served: [], imported: [], trained: [], attempts: [] };
  const outcome: Outcome = { code: -1, out: '', error: '', ...nothing };
  const programs: Programs = {
    async serve({ config }) {
      if (failure) throw failure;
      outcome.served.push(config);
    },
    async importBase(request: ServingImport) {
      if (failure) throw failure;
      outcome.imported.push(request);
      return { name: 'imported' };
    },
    async runTrainer(request: TrainerRequest) {
      outcome.trained.push(request);
      return 3;
    },
    async runTrainerPod(attempt: string) {
      outcome.attempts.push(attempt);
      return 143;
    },
  };
  const terminal = {
    out(text: string) {
      outcome.out += text;
    },
    error(text: string) {
      outcome.error += text;
    },
  };
  outcome.code = await runCommandLine(args, terminal, programs);
  return outcome;
}

test('flags of serve reach its settings', async () => {
  const { code, served } = await run(['serve', '--port', '0', '--max-seq', '64', '--weights=f32']);
  assert.equal(code, 0);
  assert.equal(served[0]?.port, 0);
  assert.equal(served[0]?.maxSeq, 64);
  assert.equal(served[0]?.weights, 'f32');
});

test('a switch takes no value', async () => {
  const { code, served } = await run(['serve', '--no-demo']);
  assert.equal(code, 0);
  assert.equal(served[0]?.noDemo, true);
  assert.equal((await run(['serve'])).served[0]?.noDemo, false);
  assert.equal((await run(['serve', '--no-demo=1'])).code, 2);
});

test('import quantizes to NF4 with double quantization by default', async () => {
  const request = { source: 'some/model', outDir: 'x' };
  const { imported, out } = await run(['import', 'some/model', '--out', 'x']);
  assert.deepEqual(imported, [
    { ...request, quantization: 'nf4', doubleQuantization: true, isBuilt: true },
  ]);
  assert.match(out, /^imported is in \/.*\/x\nServe it: lorikeet serve --model x\n$/);
});

test('import takes the documented values only', async () => {
  const none = await run('import m --out x --quantization none'.split(' '));
  assert.equal(none.imported[0]?.quantization, 'none');
  const flat = await run('import m --out x --double-quantization false'.split(' '));
  assert.equal(flat.imported[0]?.doubleQuantization, false);
  assert.equal((await run('import m --out x --quantization int3'.split(' '))).code, 2);
  assert.equal((await run('import m --out x --weights int3'.split(' '))).code, 78);
  const unbuilt = await run('import m --out x --no-build'.split(' '));
  assert.equal(unbuilt.imported[0]?.isBuilt, false);
  assert.equal((await run(['import', 'm', '--out', 'x', '--rope-scaling', 'yarn'])).code, 2);
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

test('B66: a wrong setting exits 78 with one line per fault', async () => {
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

test('B66: a secret on the command line is refused and not repeated', async () => {
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
  assert.match(help.out, /--max-seq[\s\S]*Examples:/);
  const shown = await run(['serve', '--print-config', '--slots', '3']);
  assert.equal(shown.served.length, 0);
  assert.equal(JSON.parse(shown.out).slots, 3);
});

test("a job's flags become its keys, each in its kind, and the trainer's exit code is ours", async () => {
  const flags = ['--rank', '8', '--targets', 'q_proj,v_proj', '--shuffle', 'false'];
  const more = ['--layers', '0,1', '--learning-rate', '1e-3', '--name', 'zen'];
  const { code, trained } = await run(['train', 'job.json', '--out', 'dir', ...flags, ...more]);
  assert.equal(code, 3);
  const overrides = {
    name: 'zen',
    rank: 8,
    targets: ['q_proj', 'v_proj'],
    layers: [0, 1],
    learningRate: 1e-3,
    shuffle: false,
  };
  const job = { file: 'job.json', overrides };
  assert.deepEqual(trained, [{ command: 'train', job, outDir: 'dir', adaptersDir: undefined }]);
});

test('a switch that stands alone is on, and what is no number stays a text for the schema', async () => {
  const { trained } = await run(['train', '--packing', '--rslora', 'no', '--rank', 'four']);
  const [request] = trained;
  assert.ok(request?.command === 'train');
  assert.deepEqual(request.job.overrides, { packing: true, rslora: 'no', rank: 'four' });
});

test('targets are a word, names or a regular expression', async () => {
  for (const [text, expected] of [
    ['all-linear', 'all-linear'],
    ['q_proj', ['q_proj']],
    ['.*[qv]_proj', '.*[qv]_proj'],
  ] as const) {
    const { trained } = await run(['train', '--targets', text]);
    const [request] = trained;
    assert.ok(request?.command === 'train');
    assert.deepEqual(request.job.overrides, { targets: expected });
  }
});

test('a run is resumed without other settings', async () => {
  const { trained } = await run(['train', '--resume', 'dir', '--adapters', 'there']);
  assert.deepEqual(trained, [{ command: 'resume', runDir: 'dir', adaptersDir: 'there' }]);
  const { code, error } = await run(['train', '--resume', 'dir', '--rank', '8']);
  assert.equal(code, 2);
  assert.match(error, /--resume continues a run with its original settings/);
});

test('plan takes sizes of memory, merge its three folders', async () => {
  const { trained } = await run(['plan', '--size', '7B', '--memory', '24GiB', '--json']);
  assert.equal((trained[0] as { memory?: number }).memory, 24 * 2 ** 30);
  const merge = ['merge', '--model', 'base', '--adapter', 'zen', '--out', 'dir'];
  const merged = await run(merge);
  assert.deepEqual(merged.trained, [
    { command: 'merge', model: 'base', adapter: 'zen', outDir: 'dir', dtype: undefined },
  ]);
  assert.equal((await run(merge.slice(0, 5))).code, 2);
  assert.equal((await run(['plan', '--memory', 'much'])).code, 2);
});

test('a pod’s attempt ends with the pod’s exit code; people are not told of the command', async () => {
  const { code, attempts } = await run(['train-job', 'acme/.jobs/ftjob-1/run/pods/000000001/']);
  assert.deepEqual([code, attempts.length], [143, 1]);
  assert.doesNotMatch((await run(['--help'])).out, /train-job/);
});

for (const args of [
  ['train', '--help'],
  ['serve', '--help'],
  ['keys', 'list'],
]) {
  test(`without a reader of its output, ${args.join(' ')} ends quietly`, async (t) => {
    const env = { ...process.env, LORIKEET_HOME: temporaryFolder(t) };
    const child = spawn(process.execPath, [...MAIN, ...args], { env });
    child.stdout.destroy();
    let errors = '';
    child.stderr.on('data', (text) => {
      errors += text;
    });
    const [exitCode] = await once(child, 'close');
    assert.deepEqual([exitCode, errors], [141, '']);
  });
}

test('a command that fails ends the process, even if something was left open', {
  timeout: 60_000,
}, async (t) => {
  const env = { ...process.env, LORIKEET_HOME: temporaryFolder(t) };
  const leak = 'data:text/javascript,setInterval(() => {}, 1e6)';
  const args = ['--import', leak, ...MAIN, 'serve', '--model', 'missing'];
  const child = spawn(process.execPath, args, { env, stdio: ['ignore', 'ignore', 'pipe'] });
  t.after(() => child.kill('SIGKILL'));
  const [exitCode] = await once(child, 'close');
  assert.equal(exitCode, 78);
});

test('the flags of serve are grouped, and --provider says what is untested', async () => {
  const { out } = await run(['serve', '--help', 'all']);
  const heading = (flag: string) =>
    out
      .slice(0, out.indexOf(`  ${flag} `))
      .match(/^\S.*:$/gm)
      ?.at(-1);
  const flags = ['--prewarm', '--model', '--port', '--weights', '--slots', '--adapter-slots'];
  assert.deepEqual([...flags, '--train-pod', '--store-responses', 'LOG_LEVEL'].map(heading), [
    'Options:',
    'Model and adapters:',
    'Network:',
    'Computation:',
    'Limits and scheduling:',
    'Memory and disk for adapters and prompts:',
    'Fine-tuning:',
    'Kept responses:',
    'Environment only: folders and logs:',
  ]);
  const text = out.replaceAll(/\s+/g, ' ');
  assert.match(text, /--provider .*webgpu has only been tested on .*, and cuda not at all/);
});

for (const command of ['serve', 'train', 'plan']) {
  for (const all of [[], ['all']]) {
    const name = [command, '--help', ...all].join(' ');
    test(`${name}: lines of at most 100 characters, in groups of at most 12`, async () => {
      const { out } = await run([command, '--help', ...all]);
      assert.deepEqual(
        out.split('\n').filter((line) => line.length > 100),
        [],
      );
      const groups = out.split(/^(?=\S.*:$)/m).slice(1);
      assert.ok(groups.length > 5, out);
      for (const group of groups) {
        const count = group.match(/^ {2}(?:-h, )?(--|[A-Z_]{4})/gm)?.length ?? 0;
        assert.ok(count <= 12, `${count}: ${group}`);
      }
    });
  }
}

test('the short help lists the common options and says how many more there are', async () => {
  for (const [command, common, rare] of [
    ['serve', '--slots', '--kv-events'],
    ['train', '--epochs', '--warmup-steps'],
  ] as const) {
    const short = (await run([command, '--help'])).out;
    const whole = (await run([command, '--help', 'all'])).out;
    const flags = (text: string) => text.match(/^ {2}(?:-h, )?--[a-z-]+/gm)!.length;
    assert.match(short, new RegExp(`^ {2}${common} `, 'm'));
    assert.doesNotMatch(short, new RegExp(`^ {2}${rare} `, 'm'));
    assert.match(whole, new RegExp(`^ {2}${rare} `, 'm'));
    const [, more] = /^(\d+) more options: lorikeet \w+ --help all$/m.exec(short)!;
    assert.equal(flags(whole) - flags(short), Number(more));
  }
});

test('required options are marked', async () => {
  assert.match((await run(['merge', '--help'])).out, /--adapter <dir> .*\(required\)/);
  assert.match((await run(['train', '--help'])).out, /--model <text> [^-]*\(required, here or/);
});

test('a checkout without a build runs its sources', (t) => {
  const checkout = temporaryFolder(t);
  cpSync('bin', path.join(checkout, 'bin'), { recursive: true });
  for (const name of ['adapters', 'node_modules', 'package.json', 'src', 'trainer'])
    symlinkSync(path.resolve(name), path.join(checkout, name));
  const args = [path.join(checkout, 'bin/lorikeet.mjs'), '--version'];
  const { stdout, stderr } = spawnSync(process.execPath, args, { encoding: 'utf8' });
  assert.deepEqual([stdout.trim(), stderr], [VERSION, '']);
});
