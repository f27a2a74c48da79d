// The settings of a run: one schema over environment and flags (a flag wins), read once into a frozen Config.
// The only reader of process.env. Knows no model and no machine: whether the settings fit is the engine's plan.
import os from 'node:os';
import path from 'node:path';
import { z } from 'zod';
import { ConfigError } from './errors.ts';

const UNITS: Record<string, number> = { '': 1, K: 2 ** 10, M: 2 ** 20, G: 2 ** 30 };

const text = z.string().regex(/^\P{Cc}*$/u, 'holds a control character (a CRLF file?)');
const folder = text.transform((value) => path.resolve(value));
const yes = z.string().transform((value) => /^(1|true|yes|on)$/i.test(value));

/** Comma separated. */
const nameList = text
  .transform((value) => value.split(',').map((name) => name.trim()))
  .pipe(z.array(z.string().min(1, 'holds an empty name')));

/** A whole number from `min` to `max`, written in digits only; `shownMin` is what a fault says. */
function integer(min: number, max: number, shownMin = min) {
  const message = `must be a whole number from ${shownMin} to ${max}`;
  return z
    .string()
    .regex(/^\d{1,15}$/, message)
    .transform(Number)
    .pipe(z.number().min(min, message).max(max, message));
}

/** Bytes, with an optional unit: 1073741824, 512M, 2GiB. */
const byteSize = z
  .string()
  .regex(/^\d{1,15}(?:[KMG](?:i?B)?)?$/, 'must be a size such as 536870912, 512M or 2GiB')
  .transform((value) => Number.parseInt(value, 10) * UNITS[/[KMG]/.exec(value)?.[0] ?? '']!)
  .pipe(z.number().min(2 ** 20, 'must be at least 1M'));

/** Any other URL is a mistake, not a folder's name. */
const storePlace = text
  .regex(
    /^(?:memory:|s3:\/\/[a-z\d][a-z\d.-]{1,61}[a-z\d](?:\/(?!\.\.?(?:\/|$))[\w.-]+)*\/?|(?!\w+:).*)$/,
    'must be a folder, s3://bucket/prefix or memory:',
  )
  .transform((value) => (/^(?:memory:|s3:\/\/)/.test(value) ? value : path.resolve(value)));

/** Such a URL may hold credentials. */
const otlpUrl = z.url({ protocol: /^https?$/, error: 'must be an http or https URL' }).optional();
const otlpOrNone = z.enum(['otlp', 'none'], 'must be otlp or none').optional();

interface Setting {
  /** Its environment variable. */
  readonly env: string;
  /** Its flag; absent: environment only, as every secret is (a command line is public on its machine). */
  readonly flag?: string;
  readonly help: string;
  readonly schema: z.ZodType;
  readonly isSecret?: true;
}

/** Every setting: a row. */
const SETTINGS = {
  model: {
    env: 'LORIKEET_MODEL',
    flag: '--model',
    help: 'folder or name of an imported model (default: SmolLM2-135M-Instruct, fetched the first time)',
    schema: text.optional(),
  },
  adapters: {
    env: 'LORIKEET_ADAPTERS',
    flag: '--adapters',
    help: 'folder of PEFT folders; each folder name is a model name',
    schema: folder.optional(),
  },
  store: {
    env: 'LORIKEET_STORE',
    flag: '--store',
    help: 'where published adapters are: a folder, s3://bucket/prefix (AWS_* say how) or memory: (default: store in LORIKEET_HOME)',
    schema: storePlace.optional(),
  },
  s3PathStyle: {
    env: 'LORIKEET_S3_PATH_STYLE',
    help: '1: the bucket is in the path, not in the host name, as most services but AWS want it',
    schema: yes.default(false),
  },
  s3Checksums: {
    env: 'LORIKEET_S3_CHECKSUMS',
    help: 'when_supported, or when_required for services that refuse CRC32 (default: when_supported)',
    schema: z
      .enum(['when_supported', 'when_required'], 'must be when_supported or when_required')
      .default('when_supported'),
  },
  host: {
    env: 'HOST',
    flag: '--host',
    help: 'address to listen on (default: 127.0.0.1)',
    schema: text.default('127.0.0.1'),
  },
  port: {
    env: 'PORT',
    flag: '--port',
    help: 'port to listen on (default: 8080); as a flag 0 lets the system choose',
    schema: integer(0, 65_535, 1).default(8080),
  },
  allowedHosts: {
    env: 'LORIKEET_ALLOWED_HOSTS',
    flag: '--allowed-hosts',
    help: 'names, comma separated, that requests may be addressed to beside localhost, --host and addresses',
    schema: nameList.default([]),
  },
  basePath: {
    env: 'LORIKEET_BASE_PATH',
    flag: '--base-path',
    help: 'prefix that a gateway leaves on paths, such as /openai; routes answer with and without it',
    schema: z
      .string()
      .regex(/^(\/[A-Za-z0-9._-]+)+$/, 'must be a path such as /openai')
      .optional(),
  },
  keys: {
    env: 'LORIKEET_KEYS',
    flag: '--keys',
    help: 'file of tenants and API keys (default: LORIKEET_HOME/keys.json where it exists)',
    schema: folder.optional(),
  },
  keysJson: {
    env: 'LORIKEET_KEYS_JSON',
    help: 'the text of a keys file, where there is no file system for one; holds until the server ends',
    schema: z.string().optional(),
    isSecret: true,
  },
  keyPepper: {
    env: 'LORIKEET_KEY_PEPPER',
    help: 'secret that keys are hashed with beside themselves; keys made with another are invalid',
    schema: text.optional(),
    isSecret: true,
  },
  allowOpen: {
    env: 'LORIKEET_ALLOW_OPEN',
    help: '1: without a keys file, serve whoever reaches --host even where that is not loopback',
    schema: yes.default(false),
  },
  weights: {
    env: 'LORIKEET_WEIGHTS',
    flag: '--weights',
    help: 'int8, nf4 (least memory, slow) or f32 (exact reference) (default: int8)',
    schema: z.enum(['int8', 'nf4', 'f32'], 'must be int8, nf4 or f32').default('int8'),
  },
  slots: {
    env: 'LORIKEET_SLOTS',
    flag: '--slots',
    help: 'sequences that run at once (default: 32)',
    schema: integer(1, 1024).default(32),
  },
  maxSeq: {
    env: 'LORIKEET_MAX_SEQ',
    flag: '--max-seq',
    help: "tokens of the longest sequence (default: the smaller of the model's and 2048)",
    schema: integer(16, 1_048_576).optional(),
  },
  maxWaiting: {
    env: 'LORIKEET_MAX_WAITING',
    flag: '--max-waiting',
    help: 'requests that wait for a slot before one is refused (default: 256)',
    schema: integer(1, 100_000).default(256),
  },
  maxWaitingPerTenant: {
    env: 'LORIKEET_MAX_WAITING_PER_TENANT',
    flag: '--max-waiting-per-tenant',
    help: 'the same for one tenant (default: with a keys file half of --max-waiting, else all)',
    schema: integer(1, 100_000).optional(),
  },
  prefillChunk: {
    env: 'LORIKEET_PREFILL_CHUNK',
    flag: '--prefill-chunk',
    help: 'prompt tokens of one step; fewer keep running streams smooth (default: 256)',
    schema: integer(16, 8192).default(256),
  },
  threads: {
    env: 'LORIKEET_THREADS',
    flag: '--threads',
    help: "the engine's threads (default: one for each core)",
    schema: integer(1, 1024).optional(),
  },
  adapterCacheBytes: {
    env: 'LORIKEET_ADAPTER_CACHE',
    flag: '--adapter-cache',
    help: 'memory for loaded adapters, such as 512M or 2GiB (default: 1GiB)',
    schema: byteSize.default(2 ** 30),
  },
  aliasPollMs: {
    env: 'LORIKEET_ALIAS_POLL_MS',
    help: 'how old an alias may be, in milliseconds: from then on every server sees one that moved (default: 2000)',
    schema: integer(100, 3_600_000).default(2000),
  },
  loadableAdapters: {
    env: 'LORIKEET_LOADABLE_ADAPTERS',
    flag: '--loadable-adapters',
    help: 'folder below which admin keys may load adapters by path, as with vLLM (default: none may)',
    schema: folder.optional(),
  },
  preload: {
    env: 'LORIKEET_PRELOAD',
    flag: '--preload',
    help: 'adapters, comma separated, to load at the start and to evict last: NAME, or TENANT/NAME',
    schema: nameList.default([]),
  },
  adapterDiskBytes: {
    env: 'LORIKEET_ADAPTER_DISK',
    flag: '--adapter-disk',
    help: "disk for a store's adapters, below LORIKEET_HOME/cache (default: 10GiB)",
    schema: byteSize.default(10 * 2 ** 30),
  },
  training: {
    env: 'LORIKEET_TRAINING',
    flag: '--training',
    help: 'fine-tuning jobs that train at once beside the engine; 0: jobs wait for another server (default: 1)',
    schema: integer(0, 64).default(1),
  },
  trainThreads: {
    env: 'LORIKEET_TRAIN_THREADS',
    flag: '--train-threads',
    help: "a job's threads (default: half of the cores)",
    schema: integer(1, 1024).optional(),
  },
  maxJobs: {
    env: 'LORIKEET_MAX_JOBS',
    help: "a tenant's fine-tuning jobs that are not over (default: 20)",
    schema: integer(1, 10_000).default(20),
  },
  maxFiles: {
    env: 'LORIKEET_MAX_FILES',
    help: "a tenant's uploaded files (default: 1000)",
    schema: integer(1, 100_000).default(1000),
  },
  maxFileBytes: {
    env: 'LORIKEET_MAX_FILE',
    help: 'the largest upload, such as 512M or 2GiB (default: 512MiB)',
    schema: byteSize.default(512 * 2 ** 20),
  },
  adapterSlots: {
    env: 'LORIKEET_ADAPTER_SLOTS',
    flag: '--adapter-slots',
    help: 'distinct adapters that run at once (default: as many as sequences)',
    schema: integer(1, 1024).optional(),
  },
  home: {
    env: 'LORIKEET_HOME',
    help: 'folder of models/, adapters/, store/, cache/ and jobs/ (default: lorikeet in the XDG data folder)',
    schema: folder,
  },
  logLevel: {
    env: 'LOG_LEVEL',
    help: 'silent, fatal, error, warn, info, debug or trace (default: warn)',
    schema: z
      .enum(['silent', 'fatal', 'error', 'warn', 'info', 'debug', 'trace'], 'is no log level')
      .default('warn'),
  },
  hfHome: { env: 'HF_HOME', help: "the hub's cache folder", schema: folder },
  hfToken: {
    env: 'HF_TOKEN',
    help: 'token for the hub',
    schema: text.optional(),
    isSecret: true,
  },
  hfEndpoint: {
    env: 'HF_ENDPOINT',
    help: "the hub's address (default: https://huggingface.co)",
    schema: z.url({ protocol: /^https?$/, error: 'must be an http or https URL' }).optional(),
  },
  hfOffline: {
    env: 'HF_HUB_OFFLINE',
    help: '1: never ask the hub',
    schema: yes.default(false),
  },
  metricsOpen: {
    env: 'LORIKEET_METRICS_OPEN',
    help: '1: /metrics, which names tenants and adapters, is shown without an admin key',
    schema: yes.default(false),
  },
  // Whether OpenTelemetry is loaded; it reads these and all other OTEL_* variables itself.
  otlpEndpoint: {
    env: 'OTEL_EXPORTER_OTLP_ENDPOINT',
    help: "the collector that traces and metrics are sent to; all other OTEL_* variables are OpenTelemetry's own",
    schema: otlpUrl,
    isSecret: true,
  },
  otlpTracesEndpoint: {
    env: 'OTEL_EXPORTER_OTLP_TRACES_ENDPOINT',
    help: 'the same for traces',
    schema: otlpUrl,
    isSecret: true,
  },
  otlpMetricsEndpoint: {
    env: 'OTEL_EXPORTER_OTLP_METRICS_ENDPOINT',
    help: 'the same for metrics',
    schema: otlpUrl,
    isSecret: true,
  },
  otlpProtocol: {
    env: 'OTEL_EXPORTER_OTLP_PROTOCOL',
    help: 'http/protobuf, the only one',
    schema: z.literal('http/protobuf', 'must be http/protobuf').optional(),
  },
  tracesExporter: {
    env: 'OTEL_TRACES_EXPORTER',
    help: 'otlp or none (default: otlp where an endpoint is set)',
    schema: otlpOrNone,
  },
  metricsExporter: {
    env: 'OTEL_METRICS_EXPORTER',
    help: 'otlp or none (default: otlp where an endpoint is set); /metrics is always there',
    schema: otlpOrNone,
  },
  otelDisabled: {
    env: 'OTEL_SDK_DISABLED',
    help: 'true: nothing is sent to a collector',
    schema: yes.default(false),
  },
} as const satisfies Record<string, Setting>;

export type SettingName = keyof typeof SETTINGS;
const NAMES = Object.keys(SETTINGS) as SettingName[];

const schema = z.object(
  Object.fromEntries(NAMES.map((name) => [name, SETTINGS[name].schema])) as {
    [N in SettingName]: (typeof SETTINGS)[N]['schema'];
  },
);

export type Config = Readonly<z.infer<typeof schema>>;
/** What the command line gave, by setting. */
export type Flags = Partial<Record<SettingName, string>>;
export type Environment = Readonly<Record<string, string | undefined>>;

/** The tests' own variable; every other unknown LORIKEET_ name is a fault. */
const FOREIGN_VARIABLES = new Set(['LORIKEET_SHARED']);

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
  if (!result.success || faults.length > 0) throw new ConfigError([...new Set(faults)]);
  return Object.freeze(result.data);
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
    .filter((key) => !known.has(key) && !FOREIGN_VARIABLES.has(key))
    .map((key) => `${key}: is no setting`);
}

/** Where data and the hub's cache lie by the XDG base directory specification. */
function defaultFolders(env: Environment): { home: string; hfHome: string } {
  const userHome = env['HOME'] || os.homedir();
  const data = env['XDG_DATA_HOME'] || path.join(userHome, '.local', 'share');
  const cache = env['XDG_CACHE_HOME'] || path.join(userHome, '.cache');
  return { home: path.join(data, 'lorikeet'), hfHome: path.join(cache, 'huggingface') };
}
