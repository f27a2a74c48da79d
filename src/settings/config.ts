// The settings of a run: their table's schema over environment and flags (a flag wins), read once into a frozen Config.
// The only reader of process.env. Knows no model and no machine: whether the settings fit is the engine's plan.
import os from 'node:os';
import path from 'node:path';
import { z } from 'zod';
import { ConfigError } from '../common/errors.ts';
import { PROVIDERS } from './provider.ts';
import { SETTINGS, type Setting } from './settings.ts';

export type SettingName = keyof typeof SETTINGS;
const NAMES = Object.keys(SETTINGS) as SettingName[];

const schema = z.object(
  Object.fromEntries(NAMES.map((name) => [name, SETTINGS[name].schema])) as {
    [N in SettingName]: (typeof SETTINGS)[N]['schema'];
  },
);

type Settings = z.infer<typeof schema>;
/** The settings in force; where no form of the weights is asked for, it is the provider's first. */
export type Config = Readonly<Settings & { weights: NonNullable<Settings['weights']> }>;
/** What the command line gave, by setting. */
export type Flags = Partial<Record<SettingName, string>>;
export type Environment = Readonly<Record<string, string | undefined>>;

/** Variables of the tests and benchmarks, which start the program; every other unknown LORIKEET_ name is a fault. */
export const TEST_VARIABLES: ReadonlySet<string> = new Set([
  'LORIKEET_E2E_HOME',
  'LORIKEET_E2E_LONG',
  'LORIKEET_PYTHON',
  'LORIKEET_SHARED',
]);

/**
 * Reads and checks the settings.
 * @throws ConfigError with one line per fault, naming the variable or flag and never its value.
 */
export function loadConfig(flags: Flags = {}, env: Environment = process.env): Config {
  const faults = unknownVariables(env);
  const input: Partial<Record<SettingName, string>> = defaultFolders(env);
  const sources = new Map<string, string>();
  for (const name of NAMES) {
    const { env: variable, flag }: Setting = SETTINGS[name];
    const fromFlag = flag === undefined ? undefined : flags[name];
    // An empty variable is an unset one, as compose files and shells leave them.
    const value = fromFlag ?? (env[variable] || undefined);
    if (value !== undefined) input[name] = value;
    sources.set(name, fromFlag !== undefined && flag ? flag : variable);
  }
  const result = schema.safeParse(input);
  for (const issue of result.error?.issues ?? []) {
    faults.push(`${sources.get(String(issue.path[0]))}: ${issue.message}`);
  }
  if (result.data?.port === 0 && flags.port === undefined) {
    faults.push(`${SETTINGS.port.env}: must be a whole number from 1 to 65535`);
  }
  const { provider = 'cpu', weights: asked } = result.data ?? {};
  const forms: readonly Config['weights'][] = PROVIDERS[provider].weights;
  const weights = asked ?? forms[0]!;
  if (!forms.includes(weights)) {
    faults.push(`${sources.get('weights')}: ${provider} serves ${forms.join(' and ')} only`);
  }
  if (!result.success || faults.length > 0) throw new ConfigError([...new Set(faults)]);
  return Object.freeze({ ...result.data, weights });
}

/** The settings as they may be shown: secrets replaced. */
export function redactConfig(config: Config): Record<string, unknown> {
  return Object.fromEntries(
    NAMES.filter((name) => config[name] !== undefined).map((name) => {
      const { isSecret }: Setting = SETTINGS[name];
      return [name, isSecret ? '[redacted]' : config[name]];
    }),
  );
}

/** Name, variable, flag and help of every setting, for the command line's help. */
export function listSettings(): readonly (Omit<Setting, 'schema'> & { name: SettingName })[] {
  return NAMES.map((name) => ({ name, ...(SETTINGS[name] as Setting) }));
}

function unknownVariables(env: Environment): string[] {
  const known = new Set<string>(NAMES.map((name) => SETTINGS[name].env));
  return Object.keys(env)
    .filter((key) => key.startsWith('LORIKEET_'))
    .filter((key) => !known.has(key) && !TEST_VARIABLES.has(key))
    .map((key) => `${key}: unknown setting; lorikeet serve --help lists them`);
}

/** Where data and the hub's cache lie by the XDG base directory specification. */
function defaultFolders(env: Environment): { home: string; hfHome: string } {
  const userHome = env['HOME'] || os.homedir();
  const data = env['XDG_DATA_HOME'] || path.join(userHome, '.local', 'share');
  const cache = env['XDG_CACHE_HOME'] || path.join(userHome, '.cache');
  return { home: path.join(data, 'lorikeet'), hfHome: path.join(cache, 'huggingface') };
}
