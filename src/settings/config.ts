// Reads the settings from environment variables and flags into a frozen Config. A flag overrides its variable. No other file
// reads process.env. Whether the settings fit the model and the machine is checked later.
import os from 'node:os';
import path from 'node:path';
import { z } from 'zod';
import { ConfigError } from '../common/errors.ts';
import { PROVIDERS } from './provider.ts';
import type { Setting } from './setting.ts';
import { SETTINGS } from './settings.ts';

/** The name of a setting in `SETTINGS`. */
type SettingName = keyof typeof SETTINGS;
const NAMES = Object.keys(SETTINGS) as SettingName[];

const schema = z.object(
  Object.fromEntries(NAMES.map((name) => [name, SETTINGS[name].schema])) as {
    [N in SettingName]: (typeof SETTINGS)[N]['schema'];
  },
);

type Settings = z.infer<typeof schema>;
/**
 * The effective settings. `weights` defaults to the provider's first format; `auto` remains on the CPU only, and is chosen for each
 * base. `kv` defaults to 16 bits.
 */
export type Config = Readonly<
  Settings & { [N in 'weights' | 'kv' | 'drafts']: NonNullable<Settings[N]> }
>;
/** The command line's flags, by setting. */
export type Flags = { [N in SettingName]?: string | undefined };
/** Environment variables. */
export type Environment = Readonly<Record<string, string | undefined>>;

/** Variables that only tests and benchmarks read. Any other unknown LORIKEET_ name is a fault. */
export const TEST_VARIABLES: ReadonlySet<string> = new Set([
  'LORIKEET_BASES',
  'LORIKEET_E2E_HOME',
  'LORIKEET_E2E_LONG',
  'LORIKEET_LONG_TOKENS',
  'LORIKEET_PYTHON',
  'LORIKEET_SHARED',
]);

/**
 * Reads and checks the settings.
 * @throws ConfigError with one line per fault, which names the variable or flag but never its value
 */
export function loadConfig(flags: Flags = {}, env: Environment = process.env): Config {
  const faults = unknownVariables(env);
  const input: Partial<Record<SettingName, string>> = defaultFolders(env);
  const sources = new Map<string, string>();
  for (const name of NAMES) {
    const { env: variable, flag }: Setting = SETTINGS[name];
    const fromFlag = flag === undefined ? undefined : flags[name];
    // Compose files and shells unset a variable by giving it an empty value.
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
  const { provider = 'cpu', weights: requested, kv = 'f16' } = result.data ?? {};
  const formats: readonly Config['weights'][] = PROVIDERS[provider].weights;
  const isChosen = requested !== undefined && (requested !== 'auto' || provider === 'cpu');
  const weights = isChosen ? requested : formats[0]!;
  if (weights !== 'auto' && !formats.includes(weights)) {
    faults.push(`${sources.get('weights')}: ${provider} serves ${formats.join(' and ')} only`);
  }
  if (kv === 'int8' && PROVIDERS[provider].memory === 'device') {
    faults.push(
      `${sources.get('kv')}: ${provider} keeps its cache in its own float type. Leave it out`,
    );
  }
  const { batchInvariant } = result.data ?? {};
  const isBitEqual = provider === 'cpu' && ['int8', 'int4', 'auto'].includes(weights);
  if (batchInvariant === 'on' && !isBitEqual) {
    faults.push(
      `${sources.get('batchInvariant')}: holds for int8 and int4 on the CPU only, because other products depend on the number of rows`,
    );
  }
  if (batchInvariant === 'on' && result.data?.drafts === 'ngram') {
    faults.push(
      `${sources.get('drafts')}: completions with drafts depend on other requests. Use off, or leave it out`,
    );
  }
  // Runs of several tokens have not been measured on other providers.
  const canDraft = provider === 'cpu' && batchInvariant === 'off';
  const drafts = result.data?.drafts ?? (canDraft ? 'ngram' : 'off');
  if (!result.success || faults.length > 0) throw new ConfigError([...new Set(faults)]);
  return Object.freeze({ ...result.data, weights, kv, drafts });
}

/** Returns the settings with secrets replaced. */
export function redactConfig(config: Config): Record<string, unknown> {
  return Object.fromEntries(
    NAMES.filter((name) => config[name] !== undefined).map((name) => {
      const { isSecret }: Setting = SETTINGS[name];
      return [name, isSecret ? '[redacted]' : config[name]];
    }),
  );
}

/** Whether a server has Tinker's protocol. One that leaves training to others does not. */
export function servesTinker({
  training,
  trainRunner,
}: Pick<Config, 'training' | 'trainRunner'>): boolean {
  return training > 0 && trainRunner === 'process';
}

/** Returns the bytes that serving leaves to each trainer next to it. Undefined: no trainer is limited. */
export function memoryOfTrainer({
  trainMemoryBytes: bytes,
  training,
}: Pick<Config, 'trainMemoryBytes' | 'training'>): number | undefined {
  return bytes && bytes / Math.max(1, training);
}

/** Lists all settings for help texts and documents. */
export function listSettings(): readonly (Omit<Setting, 'schema'> & { name: SettingName })[] {
  return NAMES.map((name) => ({ name, ...(SETTINGS[name] as Setting) }));
}

function unknownVariables(env: Environment): string[] {
  const variables = new Set<string>(NAMES.map((name) => SETTINGS[name].env));
  return Object.keys(env)
    .filter((key) => key.startsWith('LORIKEET_'))
    .filter((key) => !variables.has(key) && !TEST_VARIABLES.has(key))
    .map((key) => `${key}: unknown setting. lorikeet serve --help all lists them.`);
}

/** Returns the default folders by the XDG base directory specification. */
function defaultFolders(env: Environment): { home: string; hfHome: string } {
  const userHome = env['HOME'] || os.homedir();
  const data = env['XDG_DATA_HOME'] || path.join(userHome, '.local', 'share');
  const cache = env['XDG_CACHE_HOME'] || path.join(userHome, '.cache');
  return { home: path.join(data, 'lorikeet'), hfHome: path.join(cache, 'huggingface') };
}
