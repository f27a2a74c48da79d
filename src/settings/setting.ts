// The form of a row in the tables of settings, and the names that follow from its key.
import type { z } from 'zod';

/** A setting. */
export interface Setting {
  /** Its environment variable. */
  readonly env: string;
  /** Its flag. Secrets have none, because other users of the machine can read command lines. */
  readonly flag?: string;
  /** One line for `--help` and docs/configuration.md: meaning, unit, limit and default. */
  readonly help: string;
  /** The heading above its flag in `--help`. */
  readonly group: string;
  /** Whether the short `--help` lists its flag. */
  readonly isCommon?: true;
  /** Whether the flag takes no value and sets the variable to 1. */
  readonly isSwitch?: true;
  readonly schema: z.ZodType;
  readonly isSecret?: true;
}

/** A row of the table: everything that does not follow from the setting's key. */
export interface SettingRow extends Omit<Setting, 'env' | 'group'> {
  readonly env?: string;
  /** Default: the group of the row before. */
  readonly group?: string;
  /** Whether it has no flag. Secrets and other programs' variables have none either. */
  readonly isVariableOnly?: true;
}

/** Adds to each setting its variable, its flag and its group. */
export function defineSettings<const Rows extends Readonly<Record<string, SettingRow>>>(
  rows: Rows,
) {
  let group = '';
  const settings = Object.entries(rows).map(([key, { isVariableOnly, ...row }]) => {
    group = row.group ?? group;
    const env = row.env ?? `${OWN}${key.replace(/[A-Z]/g, '_$&').toUpperCase()}`;
    const hasFlag = env.startsWith(OWN) && !isVariableOnly && !row.isSecret;
    const flag = `--${env.slice(OWN.length).toLowerCase().replaceAll('_', '-')}`;
    return [key, { ...(hasFlag && { flag }), ...row, env, group }];
  });
  return Object.fromEntries(settings) as {
    [Key in keyof Rows]: Rows[Key] & { readonly env: string; readonly group: string };
  };
}

/** The prefix of this program's variables. */
const OWN = 'LORIKEET_';
