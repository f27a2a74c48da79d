// The table of all settings. `config.ts` reads them from the environment and the command line.
import { z } from 'zod';
import { TOOL_FORMAT_NAMES } from '../contracts/tool-format.ts';
import { MAX_RANK } from '../contracts/training-settings.ts';
import { FINE_TUNING_SETTINGS } from './fine-tuning-settings.ts';
import { PROVIDER_NAMES } from './provider.ts';
import { defineSettings } from './setting.ts';
import {
  addressList,
  bindAddress,
  byteSize,
  byteSizeOrOff,
  commaSeparated,
  duration,
  folder,
  integer,
  originList,
  redisUrl,
  storeLocation,
  text,
  yes,
} from './setting-values.ts';
import { TELEMETRY_SETTINGS } from './telemetry-settings.ts';

/** All settings by name. Without `env`, the variable of `maxSeq` is `LORIKEET_MAX_SEQ`, and its flag `--max-seq`. */
export const SETTINGS = defineSettings({
  model: {
    group: 'Model and adapters:',
    help: 'folder or name of an imported base model (default: SmolLM2-135M-Instruct, downloaded on first use)',
    isCommon: true,
    schema: text.optional(),
  },
  baseAlias: {
    help: 'comma-separated further names of the base, such as meta-llama/Llama-3.2-1B, for clients that know only some names',
    schema: commaSeparated.default([]),
  },
  adapters: {
    help: "folder with one PEFT adapter per subfolder; the subfolder's name is the model name in requests",
    isCommon: true,
    schema: folder.optional(),
  },
  noDemo: {
    help: '1 hides the demo adapters for SmolLM2, which are served without a keys file',
    isSwitch: true,
    isCommon: true,
    schema: yes.default(false),
  },
  store: {
    help: 'store for published adapters, files, jobs and kept responses: a folder, s3://bucket/prefix (configured by AWS_* variables), or memory: (default: the folder store in LORIKEET_HOME)',
    isCommon: true,
    schema: storeLocation.optional(),
  },
  s3PathStyle: {
    help: '1 puts the bucket in the path of S3 requests instead of the host name, which most services other than AWS need',
    isVariableOnly: true,
    schema: yes.default(false),
  },
  s3Checksums: {
    help: 'when_supported, or when_required for S3 services that reject CRC32 checksums (default: when_supported)',
    isVariableOnly: true,
    schema: z
      .enum(['when_supported', 'when_required'], 'must be when_supported or when_required')
      .default('when_supported'),
  },
  adapterPublicKey: {
    help: 'PEM file with an Ed25519 public key; published adapters that are not signed with its private key are refused',
    schema: folder.optional(),
  },
  adapterSigningKey: {
    help: 'PEM file with an Ed25519 private key, which signs the adapters that are published; others are refused',
    schema: folder.optional(),
  },
  host: {
    group: 'Network:',
    env: 'HOST',
    flag: '--host',
    help: 'address to listen on (default: 127.0.0.1)',
    isCommon: true,
    schema: text.default('127.0.0.1'),
  },
  port: {
    env: 'PORT',
    flag: '--port',
    help: 'port to listen on; as a flag, 0 picks a free port (default: 8080)',
    isCommon: true,
    schema: integer(0, 65_535, 1).default(8080),
  },
  allowedHosts: {
    help: 'comma-separated host names that clients may use for this server, in addition to localhost, --host and IP addresses; *.example.org allows all subdomains, * any name',
    isCommon: true,
    schema: commaSeparated.default([]),
  },
  allowedOrigins: {
    help: "comma-separated origins of web pages that may call the API from a browser, such as https://app.example.org; * allows all and requires a keys file (default: only the server's own pages)",
    schema: originList.default([]),
  },
  maxConnections: {
    help: "maximum number of open connections; at the limit the server closes idle ones, and if there are none it answers new ones with 503 (default: 1024, but at most half of the process's file descriptors)",
    schema: integer(1, 1_000_000).optional(),
  },
  maxConnectionsPerAddress: {
    help: 'maximum number of open connections per IPv4 address or IPv6 /64 network; behind a load balancer, set it to --max-connections (default: half of --max-connections)',
    schema: integer(1, 1_000_000).optional(),
  },
  basePath: {
    help: 'path prefix that a gateway does not strip, such as /openai; all routes work with and without it',
    schema: z
      .string()
      .regex(
        /^(\/(?!\.\.?(?:\/|$))[A-Za-z0-9._-]+)+$/,
        'must be a path such as /openai, without . and .. as a part',
      )
      .optional(),
  },
  metricsPort: {
    help: 'port on --host that serves the metrics for routers at /metrics without a key; it shows names of adapters and no tenants, except in names of fine-tuned models (default: none)',
    schema: integer(1, 65_535).optional(),
  },
  kvEvents: {
    help: "address such as tcp://127.0.0.1:5557 of a ZeroMQ PUB socket that tells routers what the prefix cache holds; its events contain all tenants' prompts as token ids (default: none)",
    schema: bindAddress.optional(),
  },
  kvEventsPod: {
    help: 'name of this server in the topic of --kv-events, as routers know it (default: its address and port)',
    isVariableOnly: true,
    schema: z
      .string()
      .regex(/^[^@\p{Cc}]{1,253}$/u, 'must have 1 to 253 characters without @')
      .optional(),
  },
  keys: {
    group: 'Access:',
    help: 'file with tenants and API keys (default: LORIKEET_HOME/keys.json if it exists)',
    isCommon: true,
    schema: folder.optional(),
  },
  keysJson: {
    help: 'contents of a keys file, for environments without files; changes need a restart',
    schema: z.string().optional(),
    isSecret: true,
  },
  keyPepper: {
    help: 'secret that is mixed into the hashes of API keys; keys created with another pepper are invalid',
    schema: text.optional(),
    isSecret: true,
  },
  tenantHeader: {
    help: 'header in which a gateway that has authenticated a client names its tenant, such as x-tenant; accepted only from --trusted-proxies, which must remove it from what clients send (default: none)',
    schema: z
      .string()
      .regex(/^[a-z0-9-]{1,64}$/i, 'must be the name of a header')
      .optional(),
  },
  trustedProxies: {
    help: 'comma-separated addresses and networks, such as 10.0.3.7,10.1.0.0/16, whose --tenant-header is accepted (default: none)',
    schema: addressList.optional(),
  },
  ledger: {
    env: 'LORIKEET_LIMITS',
    flag: '--limits',
    help: 'redis:// or rediss:// URL of a Redis-compatible server, in which servers share the limits of tenants (default: each server counts for itself)',
    isCommon: true,
    schema: redisUrl.optional(),
    isSecret: true, // it may contain a password
  },
  allowOpen: {
    help: '1 allows a --host other than loopback without a keys file; then anyone who can reach it can use the server',
    isVariableOnly: true,
    schema: yes.default(false),
  },
  drainDelayMs: {
    help: 'milliseconds after SIGTERM during which the server still accepts requests while /readyz returns 503, so load balancers can react (default: 0)',
    isVariableOnly: true,
    schema: integer(0, 60_000).default(0),
  },
  provider: {
    group: 'Computation:',
    help: 'hardware that runs the base model: cpu, webgpu or cuda; webgpu has only been tested on a GPU emulated by the CPU, and cuda not at all (default: cpu)',
    schema: z.enum(PROVIDER_NAMES, `must be ${PROVIDER_NAMES.join(', ')}`).default('cpu'),
  },
  weights: {
    help: "format of the base model's weights: int8, int4 (CPU only; three quarters of the bytes, for bases of 1B parameters or more), auto (on a CPU int8, or int4 if memory is short), nf4 (least memory, slow on a CPU) or f32 (exact) (default: int8, with cuda nf4)",
    isCommon: true,
    schema: z
      .enum(['int8', 'int4', 'auto', 'nf4', 'f32'], 'must be int8, int4, auto, nf4 or f32')
      .optional(),
  },
  kv: {
    help: "format of cached keys and values: int8 (a quarter of the memory), f16 (half of it; f32 where lorikeet's operators are missing) or f32 (exact) (default: f16)",
    schema: z.enum(['int8', 'f16', 'f32'], 'must be int8, f16 or f32').optional(),
  },
  toolFormat: {
    help: "how the model calls tools: hermes, llama3 or mistral (default: as the base's chat template shows them, else hermes)",
    schema: z.enum(TOOL_FORMAT_NAMES, `must be ${TOOL_FORMAT_NAMES.join(', ')}`).optional(),
  },
  generationConfig: {
    help: "source of sampling defaults, as in vLLM: auto for the base model's own, vllm for none, or a folder with a generation_config.json (default: auto)",
    schema: text.default('auto'),
  },
  slots: {
    group: 'Limits and scheduling:',
    help: 'maximum number of sequences that run at the same time; further requests wait; with a keys file, one more per 12 is reserved for tenants below their share (default: 32, or fewer if memory is limited)',
    isCommon: true,
    schema: integer(1, 1024).optional(),
  },
  maxSeq: {
    help: "maximum length of a sequence, prompt plus completion, in tokens; longer requests get 400 (default: the model's own limit, but at most 4096, or 2048 or less if memory is limited)",
    isCommon: true,
    schema: integer(16, 1_048_576).optional(),
  },
  maxWaiting: {
    help: 'maximum number of waiting requests; further ones get 503 (default: 256)',
    schema: integer(1, 100_000).default(256),
  },
  maxWaitingTokens: {
    help: 'maximum number of prompt tokens of waiting requests; further ones get 503, or 429 if the tenant has used up its share (default: half the tokens of --max-waiting prompts of full length)',
    schema: integer(1, 1_000_000_000).optional(),
  },
  maxWaitingPerTenant: {
    help: 'maximum number of waiting requests per tenant; further ones get 429 (default: half of --max-waiting with a keys file, otherwise all of it)',
    schema: integer(1, 100_000).optional(),
  },
  requestTimeoutMs: {
    env: 'LORIKEET_REQUEST_TIMEOUT',
    help: 'time limit of requests without x-request-timeout-ms, such as 10m or 2h; slower ones get 504 (default: 10m)',
    schema: duration(1).default(600_000),
  },
  prefillChunk: {
    help: 'maximum number of prompt tokens per step; a smaller number keeps running streams smoother (default: 256)',
    schema: integer(16, 8192).default(256),
  },
  drafts: {
    help: 'ngram guesses tokens from repeated text and checks several in one run, while at most two sequences run; off generates one token per step (default: ngram, with a GPU off)',
    schema: z.enum(['ngram', 'off'], 'must be ngram or off').optional(),
  },
  batchInvariant: {
    help: 'on makes each completion depend on its request alone, to the bit: there are no drafts, steps take one token, and only prompts are cached; for int8 and int4 on the CPU (default: off)',
    schema: z.enum(['on', 'off'], 'must be on or off').default('off'),
  },
  threads: {
    help: 'number of threads of the engine (default: one per core)',
    isCommon: true,
    schema: integer(1, 1024).optional(),
  },
  adapterSlots: {
    group: 'Memory and disk for adapters and prompts:',
    help: 'maximum number of different adapters that run at the same time; requests for further ones wait (default: the number of sequences)',
    schema: integer(1, 1024).optional(),
  },
  adapterCacheBytes: {
    env: 'LORIKEET_ADAPTER_CACHE',
    help: 'memory for loaded adapters, such as 512M or 2GiB; adapters not in use are evicted when it is full (default: 1GiB, or less if memory is limited)',
    isCommon: true,
    schema: byteSize.optional(),
  },
  prefixCacheBytes: {
    env: 'LORIKEET_PREFIX_CACHE',
    help: 'memory for cached prompt prefixes, which later prompts need not compute again, such as 512M or 2GiB; off disables it (default: 1GiB, or less if memory is limited; only with --provider cpu)',
    schema: byteSizeOrOff.optional(),
  },
  maxAdapterRank: {
    help: 'maximum rank of an adapter, or of a composition in total; others are rejected before they are loaded (default: 512)',
    schema: integer(1, MAX_RANK).default(MAX_RANK),
  },
  aliasPollMs: {
    help: 'milliseconds after which every server has noticed that an alias moved (default: 2000)',
    isVariableOnly: true,
    schema: integer(100, 3_600_000).default(2000),
  },
  loadableAdapters: {
    help: 'folder from which adapters can be loaded by path, as in vLLM, by admin keys or, without a keys file, by clients on this machine (default: disabled)',
    schema: folder.optional(),
  },
  preload: {
    help: 'comma-separated adapters (NAME or TENANT/NAME) to load at start and to evict last',
    schema: commaSeparated.default([]),
  },
  adapterDiskBytes: {
    env: 'LORIKEET_ADAPTER_DISK',
    help: 'disk space for downloaded adapters in LORIKEET_HOME/cache, such as 512M or 10GiB; adapters not in use are deleted when it is full (default: 10GiB)',
    schema: byteSize.default(10 * 2 ** 30),
  },
  ...FINE_TUNING_SETTINGS,
  batches: {
    group: 'Batches:',
    help: 'maximum number of batches that this server works on at the same time; 0 leaves batches to other servers (default: 4)',
    schema: integer(0, 64).default(4),
  },
  maxBatches: {
    help: 'maximum number of unfinished batches per tenant; further ones get 429 (default: 20)',
    isVariableOnly: true,
    schema: integer(1, 10_000).default(20),
  },
  maxBatchRequests: {
    help: 'maximum number of requests in a batch; batches with more fail (default: 50000)',
    isVariableOnly: true,
    schema: integer(1, 1_000_000).default(50_000),
  },
  storeResponsesMs: {
    group: 'Kept responses:',
    env: 'LORIKEET_STORE_RESPONSES',
    help: 'how long conversations, and responses unless a request says store: false, are kept in the store, such as 24h; at most 30d (default: nothing is kept)',
    schema: duration(30).optional(),
  },
  maxResponsesBytes: {
    env: 'LORIKEET_MAX_RESPONSES_SIZE',
    help: "maximum total size of a tenant's kept responses, such as 512M or 10GiB; the oldest are deleted (default: 1GiB, 100 KB for each of the 10,000 that a tenant may have)",
    schema: byteSize.default(2 ** 30),
  },
  home: {
    group: 'Folders and logs:',
    help: 'data folder, which contains models/, adapters/, store/, cache/ and jobs/ (default: lorikeet in the XDG data folder)',
    isVariableOnly: true,
    schema: folder,
  },
  logLevel: {
    env: 'LOG_LEVEL',
    help: 'lowest level of log lines to write: silent, fatal, error, warn, info, debug or trace (default: warn)',
    schema: z
      .enum(
        ['silent', 'fatal', 'error', 'warn', 'info', 'debug', 'trace'],
        'must be silent, fatal, error, warn, info, debug or trace',
      )
      .default('warn'),
  },
  hfHome: {
    group: 'Hugging Face hub:',
    env: 'HF_HOME',
    help: 'folder with the Hugging Face cache (default: huggingface in the XDG cache folder)',
    schema: folder,
  },
  hfToken: {
    env: 'HF_TOKEN',
    help: 'Hugging Face access token for private and gated models',
    schema: text.optional(),
    isSecret: true,
  },
  hfEndpoint: {
    env: 'HF_ENDPOINT',
    help: 'URL of the Hugging Face hub (default: https://huggingface.co)',
    schema: z.url({ protocol: /^https?$/, error: 'must be an http or https URL' }).optional(),
  },
  hfOffline: {
    env: 'HF_HUB_OFFLINE',
    help: '1 disables all requests to the Hugging Face hub',
    schema: yes.default(false),
  },
  ...TELEMETRY_SETTINGS,
});
