// The processor that figures were measured on: its name, its cores, and the instructions that the kernels can use.
import { readFileSync } from 'node:fs';
import os from 'node:os';

const FEATURES = ['avx2', 'avx512f', 'avx512_vnni', 'avx_vnni', 'amx_int8', 'asimddp', 'i8mm'];

/** One line, such as `2 x Intel(R) Xeon(R) (avx2, avx512f)`. */
export function describeProcessor(): string {
  const cpus = os.cpus();
  const found = FEATURES.filter((feature) => readFlags().has(feature));
  return `${cpus.length} x ${cpus[0]?.model ?? os.arch()} (${found.join(', ') || 'features unknown'})`;
}

function readFlags(): ReadonlySet<string> {
  try {
    const text = readFileSync('/proc/cpuinfo', 'utf8');
    return new Set(/^(?:flags|Features)\s*:(.*)$/m.exec(text)?.[1]?.trim().split(/\s+/));
  } catch {
    return new Set(); // not Linux
  }
}
