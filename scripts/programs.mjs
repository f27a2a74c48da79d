/** The programs that tests start. */
export const TEST_PROGRAMS = [
  'src/main.ts',
  'test/adapters/store/fs-program.ts',
  'test/adapters/tiers/disk-program.ts',
  'test/engine-client/fake-engine-program.ts',
  'test/job-program.ts',
  'test/load/generator-program.ts',
  'test/log-program.ts',
  'test/ort/exit-program.ts',
  'test/starved-program.ts',
];

/** The programs that other programs start: as child processes, or as threads. */
export const CHILD_PROGRAMS = [
  'src/engine-process.ts',
  'adapters/peft/pattern-worker.ts',
  'src/grammar/compiler-worker.ts',
  'src/tools/prompt-worker.ts',
  'trainer/main.ts',
];
