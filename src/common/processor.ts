// Describes the CPU: its name, its cores, and the instructions that decide how fast products of small integers are.
import { readFileSync } from 'node:fs';
import os from 'node:os';

/** Linux's flag → the name that users know, fastest for 8-bit products first. `avx2` and `avx512` are for floats. */
const FEATURES = {
  amx_int8: 'amx',
  avx512_vnni: 'avx512-vnni',
  avx_vnni: 'avx-vnni',
  i8mm: 'i8mm',
  asimddp: 'dotprod',
  avx512f: 'avx512',
  avx2: 'avx2',
} as const;

/** An instruction set that the kernels use. */
export type ProcessorFeature = (typeof FEATURES)[keyof typeof FEATURES];

/** The CPU of this machine. */
interface Processor {
  /** For example `AMD EPYC`; `unknown` if the system does not report it. */
  readonly model: string;
  /** Logical cores that this process may use. */
  readonly cores: number;
  /** Its instruction sets, fastest for 8-bit products first. Undefined if the system does not report them (only Linux does). */
  readonly features: readonly ProcessorFeature[] | undefined;
}

let described: Processor | undefined;

/** Returns the CPU of this machine. Reads it once. */
export function describeProcessor(): Processor {
  described ??= {
    model: os.cpus()[0]?.model.trim() || 'unknown',
    cores: os.availableParallelism(),
    features: parseFeatures(readCpuInfo()),
  };
  return described;
}

/**
 * Returns how long all cores have been busy since the machine started, in seconds. Undefined if the system does not tell, or if
 * this process may use only some of its cores.
 */
export function machineCpuSeconds(): number | undefined {
  const cpus = os.cpus();
  if (cpus.length !== os.availableParallelism()) return undefined;
  const busyMs = cpus.reduce(
    (sum, { times: { user, nice, sys, irq } }) => sum + user + nice + sys + irq,
    0,
  );
  return busyMs === 0 ? undefined : busyMs / 1000;
}

/** Returns the features that the text of `/proc/cpuinfo` lists. Undefined if it lists no flags at all. */
export function parseFeatures(cpuInfo: string): ProcessorFeature[] | undefined {
  const line = /^(?:flags|Features)\s*:(.*)$/m.exec(cpuInfo)?.[1];
  if (line === undefined) return undefined;
  const flags = new Set(line.trim().split(/\s+/));
  return Object.entries(FEATURES).flatMap(([flag, name]) => (flags.has(flag) ? [name] : []));
}

function readCpuInfo(): string {
  try {
    return readFileSync('/proc/cpuinfo', 'utf8');
  } catch {
    return ''; // not Linux
  }
}
