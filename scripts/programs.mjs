/** The programs that other programs start: as child processes, or as threads. */
export const CHILD_PROGRAMS = [
  'src/engine-process.ts',
  'adapters/peft/pattern-worker.ts',
  'src/grammar/compiler-worker.ts',
  'src/tools/prompt-worker.ts',
  'trainer/main.ts',
];
