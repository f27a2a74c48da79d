// Checks the settings of a fine-tuning job when it is created, with the checks that its trainer makes later.
import { ConfigError, ServeError } from '../common/errors.ts';
import { apiPathOf } from '../contracts/training-fields.ts';
import type { JobsSide } from '../http/deps.ts';
import { readArtifact } from '../import/artifact.ts';
import { toTrainerJob } from '../jobs/job-folder.ts';

/** Returns a function that checks jobs for the base in this folder. The trainer's code is loaded for the first job. */
export function createJobCheck(dir: string): JobsSide['checkSettings'] {
  return async ({ initAdapter, ...request }) => {
    const [{ checkAdapter }, { parseJob }, { toFault, withNames }] = await Promise.all([
      import('../../trainer/job/adapter-plan.ts'),
      import('../../trainer/job/job.ts'),
      import('../../trainer/run/faults.ts'),
    ]);
    const { validationFile: validation, trainingFile: data } = request;
    const inputs = {
      model: dir,
      data,
      ...(validation !== undefined && { validation }),
      ...(initAdapter && { initAdapter: initAdapter.name }),
    };
    using artifact = readArtifact(dir);
    try {
      await checkAdapter(parseJob(toTrainerJob(request, inputs)), artifact.config);
    } catch (error) {
      if (!(error instanceof ConfigError)) throw error;
      const { message, param } = toFault(withNames(error, apiPathOf));
      throw new ServeError('invalid_request', message, param === null ? {} : { param });
    }
  };
}
