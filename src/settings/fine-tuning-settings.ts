// The settings of the server's fine-tuning jobs and uploaded files.
import { z } from 'zod';
import { TRAIN_PRIORITIES } from '../contracts/training-messages.ts';
import { DEFAULT_RANK, MAX_RANK } from '../contracts/training-settings.ts';
import type { SettingRow } from './setting.ts';
import { byteSize, folder, integer, text } from './setting-values.ts';

/** The rows of the table. */
export const FINE_TUNING_SETTINGS = {
  training: {
    group: 'Fine-tuning:',
    help: 'maximum number of fine-tuning jobs that this server trains at the same time; 0 leaves jobs to other servers (default: 1)',
    isCommon: true,
    schema: integer(0, 64).default(1),
  },
  trainMemoryBytes: {
    env: 'LORIKEET_TRAIN_MEMORY',
    flag: '--train-memory',
    help: 'memory that serving leaves to the trainers next to it, such as 512M or 2GiB; a job or a pass of a training loop that needs more than its share of it is refused (default: none is left, and nothing is refused)',
    isCommon: true,
    schema: byteSize.optional(),
  },
  maxJobRank: {
    help: 'maximum rank of a fine-tuning job that is created over the API (default: 64)',
    schema: integer(DEFAULT_RANK, MAX_RANK).default(64),
  },
  pythonGraders: {
    help: 'Python 3 program, such as python3, that runs python graders in a sandbox; only for tenants that you trust, on Linux, and for jobs with --train-runner process (default: none, they are refused)',
    schema: text.optional(),
  },
  trainThreads: {
    help: 'number of threads per fine-tuning job (default: half of the cores)',
    schema: integer(1, 1024).optional(),
  },
  trainPriority: {
    help: 'priority of jobs: idle, which uses only idle cores (on Linux; elsewhere like nice), or nice, a low priority (default: idle)',
    schema: z.enum(TRAIN_PRIORITIES, 'must be idle or nice').default('idle'),
  },
  trainRunner: {
    help: 'where fine-tuning jobs run: process, as a child process, or kubernetes, each as a Kubernetes Job (default: process)',
    schema: z.enum(['process', 'kubernetes'], 'must be process or kubernetes').default('process'),
  },
  trainPod: {
    help: "for kubernetes: JSON file with the trainer's pod template, as in spec.template of a Job",
    schema: folder.optional(),
  },
  trainQueue: {
    help: "for kubernetes: the Kueue LocalQueue that admits the trainer's Jobs (default: none, they start immediately)",
    schema: z
      .string()
      .regex(/^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$/, 'must be the name of a LocalQueue')
      .optional(),
  },
  maxJobs: {
    help: 'maximum number of unfinished fine-tuning jobs per tenant; further ones get 429 (default: 20)',
    isVariableOnly: true,
    schema: integer(1, 10_000).default(20),
  },
  maxFiles: {
    help: 'maximum number of uploaded files per tenant; further uploads get 400 (default: 1000)',
    isVariableOnly: true,
    schema: integer(1, 100_000).default(1000),
  },
  maxFilesBytes: {
    env: 'LORIKEET_MAX_FILES_SIZE',
    help: "maximum total size of a tenant's uploaded files, such as 512M or 10GiB; further uploads get 400 (default: 10GiB)",
    isVariableOnly: true,
    schema: byteSize.default(10 * 2 ** 30),
  },
  maxFileBytes: {
    env: 'LORIKEET_MAX_FILE',
    help: 'maximum size of an uploaded file, such as 512M or 2GiB; larger ones get 413 (default: 512MiB)',
    isVariableOnly: true,
    schema: byteSize.default(512 * 2 ** 20),
  },
} as const satisfies Record<string, SettingRow>;
