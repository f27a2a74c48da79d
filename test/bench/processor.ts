// The processor that figures were measured on, as one line of a report.
import { describeProcessor } from '../../src/common/processor.ts';

/** One line, such as `2 cores of AMD EPYC (avx512-vnni, avx512, avx2)`. */
export function processorLine(): string {
  const { model, cores, features } = describeProcessor();
  return `${cores} cores of ${model} (${features?.join(', ') || 'features unknown'})`;
}
