// A child for the test of job processes: never ends, takes all memory, waits for a while or for ever, or answers with the job,
// with its priority or with the number of such jobs.
import { getPriority } from 'node:os';
import { serveJobs } from '../src/common/job-process.ts';

let counted = 0;

serveJobs((job: string, begin) => {
  if (job === 'echo') return job;
  if (job === 'priority') return getPriority();
  if (job.startsWith('count')) return ++counted;
  begin(3);
  if (job.startsWith('wait')) {
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, job === 'wait' ? 500 : undefined);
    return job;
  }
  const known = new Map<number, object>();
  for (let i = 0; ; i++) if (job === 'grow') known.set(i, { i });
});
