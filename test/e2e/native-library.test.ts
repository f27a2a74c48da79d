// The library of our own operators in `native/` is what its sources compile to, and no other file of the machine decides it.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import { pythonWith } from './python-venv.ts';

const isLinux = process.platform === 'linux' && process.arch === 'x64';

test('the library is its sources, compiled', {
  skip: !isLinux && 'needs Linux on x64',
}, async (t) => {
  const compiler = await pythonWith('native/requirements.txt');
  if ('reason' in compiler) return t.skip(compiler.reason);
  const find = 'import ziglang, os; print(os.path.join(os.path.dirname(ziglang.__file__), "zig"))';
  const { stdout } = spawnSync(compiler.python, ['-c', find], { encoding: 'utf8' });
  const work = mkdtempSync(path.join(tmpdir(), 'lorikeet-e2e-'));
  t.after(() => rmSync(work, { recursive: true }));
  const built = path.join(work, 'built.so');
  const { status, stderr } = spawnSync(
    process.execPath,
    ['native/build.mjs', stdout.trim(), built],
    {
      encoding: 'utf8',
      env: { ...process.env, ZIG_GLOBAL_CACHE_DIR: work, ZIG_LOCAL_CACHE_DIR: work },
    },
  );
  assert.equal(status, 0, stderr);
  const isSame = readFileSync(built).equals(readFileSync('native/lorikeet-linux-x64.so'));
  assert.ok(isSame, 'run native/build.mjs and commit its result');
});
