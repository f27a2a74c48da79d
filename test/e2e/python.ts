// The Python of the tests that compare with transformers, peft and llama.cpp: LORIKEET_PYTHON, else the system's.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';

/** The interpreter. */
export const pythonPath = process.env['LORIKEET_PYTHON'] ?? 'python3';

/** For `skip`: why Python cannot import these modules here, or false. */
export function skipWithout(...modules: string[]): string | false {
  const probe = spawnSync(pythonPath, ['-c', `import ${modules.join(', ')}`]);
  if (probe.status === 0) return false;
  return `${pythonPath} has not all of ${modules.join(', ')} (LORIKEET_PYTHON names another)`;
}

/** Runs Python to its end. Returns what it printed. */
export function runPython(args: readonly string[]): {
  status: number | null;
  out: string;
  error: string;
} {
  const { status, stdout, stderr, error } = spawnSync(pythonPath, args, { encoding: 'utf8' });
  return { status, out: stdout ?? '', error: stderr ?? String(error) };
}

/** Runs Python to its end. Returns its last line as JSON. Fails with its output if it fails. */
export function pythonJson<T>(args: readonly string[]): T {
  const { out, error, status } = runPython(args);
  assert.equal(status, 0, error);
  return JSON.parse(out.trim().split('\n').at(-1)!) as T;
}
