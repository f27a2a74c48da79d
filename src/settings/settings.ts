// Every setting of a run: a table. How it is read is the config's; knows no environment.
import { z } from 'zod';
import { DEFAULT_RANK, MAX_RANK } from '../contracts/training-settings.ts';
import { PROVIDER_NAMES } from './provider.ts';
import {
  byteSize,
  folder,
  integer,
  nameList,
  originList,
  otlpOrNone,
  otlpUrl,
  storePlace,
  text,
  yes,
} from './setting-values.ts';

export interface Setting {
  /** Its environment variable. */
  readonly env: string;
  /** Its flag; absent: environment only, as every secret is (a command line is public on its machine). */
  readonly flag?: string;
  readonly help: string;
  /** The flag takes no value and means 1. */
  readonly isSwitch?: true;
  readonly schema: z.ZodType;
  readonly isSecret?: true;
}

/** Every setting: a row. */
export const SETTINGS = {
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
  noDemo: {
    env: 'LORIKEET_NO_DEMO',
    flag: '--no-demo',
    help: '1: hide the demo adapters that come with SmolLM2 if there is no keys file',
    isSwitch: true,
    schema: yes.default(false),
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
    help: 'names, comma separated, that requests may be addressed to beside localhost, --host and addresses; *.example.org are all below it, * are all',
    schema: nameList.default([]),
  },
  allowedOrigins: {
    env: 'LORIKEET_ALLOWED_ORIGINS',
    flag: '--allowed-origins',
    help: 'origins of web pages, comma separated, that may use the API from a browser, such as https://app.example.org; *, with a keys file only, is every origin (default: none but its own pages)',
    schema: originList.default([]),
  },
  maxConnections: {
    env: 'LORIKEET_MAX_CONNECTIONS',
    flag: '--max-connections',
    help: 'open connections; at the limit idle ones make room, and if none is idle, new ones get 503 (default: 1024, at most half of the descriptors that the process may have)',
    schema: integer(1, 1_000_000).optional(),
  },
  maxConnectionsPerAddress: {
    env: 'LORIKEET_MAX_CONNECTIONS_PER_ADDRESS',
    flag: '--max-connections-per-address',
    help: 'open connections from one IPv4 address or IPv6 /64 network (default: half of --max-connections; behind a single load balancer give both the same number)',
    schema: integer(1, 1_000_000).optional(),
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
  drainDelayMs: {
    env: 'LORIKEET_DRAIN_DELAY_MS',
    help: 'after SIGTERM, how long requests are taken while /readyz says 503 already, in milliseconds: until a balancer has looked (default: 0)',
    schema: integer(0, 60_000).default(0),
  },
  provider: {
    env: 'LORIKEET_PROVIDER',
    flag: '--provider',
    help: 'what the base runs on: cpu, webgpu or cuda (default: cpu)',
    schema: z.enum(PROVIDER_NAMES, `must be ${PROVIDER_NAMES.join(', ')}`).default('cpu'),
  },
  weights: {
    env: 'LORIKEET_WEIGHTS',
    flag: '--weights',
    help: 'int8, nf4 (least memory; slow on a CPU) or f32 (exact reference) (default: int8, with cuda nf4)',
    schema: z.enum(['int8', 'nf4', 'f32'], 'must be int8, nf4 or f32').optional(),
  },
  generationConfig: {
    env: 'LORIKEET_GENERATION_CONFIG',
    flag: '--generation-config',
    help: "sampling defaults, as with vLLM: auto, the base's own; vllm, none; or a folder with a generation_config.json (default: auto)",
    schema: text.default('auto'),
  },
  slots: {
    env: 'LORIKEET_SLOTS',
    flag: '--slots',
    help: 'sequences that run at once (default: 32, or as many as fit the memory limit)',
    schema: integer(1, 1024).optional(),
  },
  maxSeq: {
    env: 'LORIKEET_MAX_SEQ',
    flag: '--max-seq',
    help: "tokens of the longest sequence (default: the smaller of the model's and 2048, or what fits the memory limit)",
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
    help: 'memory for loaded adapters, such as 512M or 2GiB (default: 1GiB, or what fits the memory limit)',
    schema: byteSize.optional(),
  },
  maxAdapterRank: {
    env: 'LORIKEET_MAX_ADAPTER_RANK',
    flag: '--max-adapter-rank',
    help: 'largest rank of an adapter, and of the ranks of a composition together; larger ones are refused before they are loaded (default: 512)',
    schema: integer(1, MAX_RANK).default(MAX_RANK),
  },
  aliasPollMs: {
    env: 'LORIKEET_ALIAS_POLL_MS',
    help: 'how old an alias may be, in milliseconds: from then on every server sees one that moved (default: 2000)',
    schema: integer(100, 3_600_000).default(2000),
  },
  loadableAdapters: {
    env: 'LORIKEET_LOADABLE_ADAPTERS',
    flag: '--loadable-adapters',
    help: 'folder below which admin keys, or anyone on loopback without a keys file, may load adapters by path, as with vLLM (default: none may)',
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
  maxJobRank: {
    env: 'LORIKEET_MAX_JOB_RANK',
    flag: '--max-job-rank',
    help: 'largest rank that a fine-tuning job over the API may ask for (default: 64)',
    schema: integer(DEFAULT_RANK, MAX_RANK).default(64),
  },
  trainThreads: {
    env: 'LORIKEET_TRAIN_THREADS',
    flag: '--train-threads',
    help: "a job's threads (default: half of the cores)",
    schema: integer(1, 1024).optional(),
  },
  trainRunner: {
    env: 'LORIKEET_TRAIN_RUNNER',
    flag: '--train-runner',
    help: 'what trains: process, beside the engine, or kubernetes, a Job of the cluster for each (default: process)',
    schema: z.enum(['process', 'kubernetes'], 'must be process or kubernetes').default('process'),
  },
  trainPod: {
    env: 'LORIKEET_TRAIN_POD',
    flag: '--train-pod',
    help: "with kubernetes, a file: the trainers' pod, as JSON, as in spec.template of a Job",
    schema: folder.optional(),
  },
  trainQueue: {
    env: 'LORIKEET_TRAIN_QUEUE',
    flag: '--train-queue',
    help: "with kubernetes, Kueue's LocalQueue that admits trainers (default: they start at once)",
    schema: z
      .string()
      .regex(/^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$/, 'must be the name of a LocalQueue')
      .optional(),
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
  maxFilesBytes: {
    env: 'LORIKEET_MAX_FILES_SIZE',
    help: "a tenant's uploaded files together, such as 512M or 10GiB (default: 10GiB)",
    schema: byteSize.default(10 * 2 ** 30),
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
