// The form of a row in the tables of settings.
import type { z } from 'zod';

/** A setting. */
export interface Setting {
  /** Its environment variable. */
  readonly env: string;
  /** Its flag. Secrets have none, because other users of the machine can see command lines. */
  readonly flag?: string;
  /** One line for `--help` and docs/configuration.md: meaning, unit, limit and default. */
  readonly help: string;
  /** The flag takes no value. It sets the variable to 1. */
  readonly isSwitch?: true;
  readonly schema: z.ZodType;
  readonly isSecret?: true;
}
