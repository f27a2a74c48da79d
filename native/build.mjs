// Builds the library of our own operators for Linux on x64: `node native/build.mjs ZIG [FILE]`. ZIG is the compiler inside the
// PyPI package of requirements.txt, which gives the same bytes on every machine. `test/e2e/native-library.test.ts`
// installs it and compares the result with the library in this folder.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const TARGET = ['-target', 'x86_64-linux-gnu.2.28'];
/** The runtime needs glibc 2.28 as well. A fused sum would be rounded differently from a separate one. */
const FLAGS = [
  ...TARGET,
  ...['-O3', '-ffp-contract=off', '-fno-math-errno', '-fPIC', '-fvisibility=hidden', '-g0'],
  ...['-Wall', '-Wextra', '-Werror', '-Wno-unused-parameter', '-Wno-deprecated-non-prototype'],
];
const AVX2 = ['-mavx2', '-mfma', '-mf16c'];
const AVX512 = [
  ...AVX2,
  ...['-mavx512f', '-mavx512bw', '-mavx512vl', '-mavx512vnni', '-mprefer-vector-width=512'],
];

/** Each source with its instruction sets. */
const SOURCES = {
  'linear.c': [AVX2, AVX512],
  'rounding.c': [AVX2, AVX512],
  'attention.c': [AVX2, AVX512],
  'logits.c': [AVX2, AVX512],
  'operators.c': [[]],
};

/** Compiles and links the library. Throws if the compiler fails. */
export function buildLibrary(zig, file) {
  const folder = path.dirname(fileURLToPath(import.meta.url));
  const work = mkdtempSync(path.join(tmpdir(), 'lorikeet-native-'));
  // Relative names, because the compiler may write them into its output.
  const run = (...args) => execFileSync(zig, ['cc', ...args], { cwd: folder, stdio: 'inherit' });
  try {
    const objects = Object.entries(SOURCES).flatMap(([source, sets]) =>
      sets.map((instructions, i) => {
        const object = path.join(work, `${source}.${i}.o`);
        run(...FLAGS, ...instructions, '-c', source, '-o', object);
        return object;
      }),
    );
    run(...TARGET, '-shared', '-s', '-o', path.resolve(file), ...objects, '-lm', '-lpthread');
  } finally {
    rmSync(work, { recursive: true });
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [zig, file = 'native/lorikeet-linux-x64.so'] = process.argv.slice(2);
  buildLibrary(zig, file);
}
