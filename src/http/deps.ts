// What the HTTP side is given: the engine's client, the registry, the text side of the model, limits and a clock.
import type { LoadedAdapters } from '../../adapters/registry/folder-registry.ts';
import type { Registry } from '../../adapters/registry/registry.ts';
import type { AdapterRepository } from '../../adapters/repository/repository.ts';
import type { LocalAdapters } from '../../adapters/tiers/local-adapters.ts';
import type { Logger } from '../common/log.ts';
import type { MemoryBudget } from '../common/memory-limit.ts';
import type { GenerationConfig } from '../contracts/generation-config.ts';
import type { DryRuns } from '../jobs/dry-runs.ts';
import type { Files } from '../jobs/files.ts';
import type { JobService } from '../jobs/job-service.ts';
import type { EngineClient } from '../scheduler/client.ts';
import type { Telemetry } from '../telemetry/telemetry.ts';
import type { Authenticate } from '../tenants/access.ts';
import type { RateLimits } from '../tenants/rate-limits.ts';
import type { ChatTemplate } from '../tokenizer/chat-template.ts';
import type { Tokenizer } from '../tokenizer/tokenizer.ts';
import type { HttpLimits } from './limits.ts';
import type { StatsHistory } from './stats-history.ts';
import type { UploadOptions } from './upload.ts';

export interface ServedModel {
  /** The base's own name. */
  id: string;
  /** Hex. */
  baseDigest: string;
  maxSeqLength: number;
  vocabSize: number;
  eosTokenIds: readonly number[];
  /** Sampling defaults; absent: OpenAI's. */
  generationConfig?: GenerationConfig;
}

/** Training on this server. */
export interface JobsSide {
  readonly files: Files;
  readonly uploads: UploadOptions;
  readonly service: JobService;
  readonly dryRuns: DryRuns;
  /** How the served base can be trained. */
  readonly method: 'qlora' | 'lora';
  /** Of a job's adapter. */
  readonly maxRank: number;
}

/** Published adapters as their owners manage them. */
export interface PublishedSide {
  readonly repository: AdapterRepository;
  /** Drops what this server remembers of a name, so that its next request sees a change at once. */
  forget(owner: string, name: string): void;
}

export interface AppOptions {
  client: EngineClient;
  registry: Registry;
  localAdapters: LocalAdapters;
  /** Names that admin keys may load by path; absent: there are no such routes. */
  loaded?: LoadedAdapters;
  /** Absent: there are no routes to manage published adapters. */
  published?: PublishedSide;
  /** Absent: there are no such routes. */
  jobs?: JobsSide;
  /** Absent: prompts are given as token ids, and answers carry no text. */
  tokenizer: Tokenizer | undefined;
  /** Absent: no chat. */
  chatTemplate: ChatTemplate | undefined;
  model: ServedModel;
  log: Logger;
  limits?: Partial<HttpLimits>;
  /** Routes answer below it, too, such as `/openai`. */
  basePath?: string | undefined;
  /** Host names that requests may be addressed to, beside loopback. */
  allowedHosts?: readonly string[];
  /** Origins of web pages that may use the API from a browser, such as `https://app.example`; `*` is every origin. */
  allowedOrigins?: readonly string[];
  authenticate?: Authenticate;
  rateLimits?: RateLimits;
  telemetry?: Telemetry;
  /** Shown by /health. */
  memory?: MemoryBudget;
  /** Whether /metrics is shown without an admin key; by default where there are no keys. */
  hasOpenMetrics?: boolean;
  /** Whoever asks is this machine's own user, and needs no admin key. */
  hasOpenAdmin?: boolean;
  /** Absent: the status page knows nothing of the time before it was opened. */
  history?: StatsHistory;
  /** Of the engine; absent: the runtime's choice. */
  threads?: number | undefined;
  /** Aborted: /readyz says 503, though requests are still answered, so that balancers look elsewhere. */
  leaving?: AbortSignal;
  /** Unix milliseconds. */
  now?: () => number;
}

/** The same, with every choice made. */
export interface Deps
  extends Omit<AppOptions, 'allowedHosts' | 'allowedOrigins' | 'authenticate' | 'rateLimits'> {
  limits: HttpLimits;
  telemetry: Telemetry;
  now: () => number;
}
