// Everything that the HTTP side needs: the engine's client, the registry, the tokenizer, limits, a clock and the optional
// parts.
import type { LoadedAdapters } from '../../adapters/registry/folder-registry.ts';
import type { NamePage, NamePageQuery } from '../../adapters/registry/name-lists.ts';
import type { AdapterRepository } from '../../adapters/repository/repository.ts';
import type { BatchService } from '../batches/batch-service.ts';
import type { MemoryBudget } from '../common/memory-limit.ts';
import type { ServerFolder } from '../contracts/server-folders.ts';
import type { Conversations } from '../conversations/conversations.ts';
import type { KeptResponses } from '../conversations/kept-responses.ts';
import type { PythonGraders } from '../graders/python.ts';
import type { Files } from '../jobs/files.ts';
import type { JobRequest } from '../jobs/job.ts';
import type { JobService } from '../jobs/job-service.ts';
import type { DryRuns } from '../jobs/plan-job.ts';
import type { StatsHistory } from '../telemetry/stats-history.ts';
import { Telemetry } from '../telemetry/telemetry.ts';
import type { Access, Authenticate, TenantGateway } from '../tenants/access.ts';
import { RateLimits } from '../tenants/rate-limits.ts';
import type { TinkerService } from '../tinker/tinker-service.ts';
import type { UsageArchive } from '../usage/usage-archive.ts';
import type { UsageRecorder } from '../usage/usage-recorder.ts';
import type { GenerationDeps } from './generation/generation-plan.ts';
import { ModelTexts } from './request/model-texts.ts';
import type { RequestDeps } from './request/request-model.ts';
import { DEFAULT_LIMITS, type HttpLimits } from './wire/limits.ts';
import type { UploadOptions } from './wire/upload.ts';

/** Dependencies of the fine-tuning routes. */
export interface JobsSide {
  readonly files: Files;
  readonly uploads: UploadOptions;
  readonly service: JobService;
  readonly dryRuns: DryRuns;
  /** The CPU time of the trainers that run on this machine now, in ms; undefined if there are none. */
  trainerCpuMs(): number | undefined;
  /** How the served base can be trained. */
  readonly method: 'qlora' | 'lora';
  /** The highest rank that a job may train. */
  readonly maxRank: number;
  /** Rejects with `ServeError` if the settings of a job contradict each other or do not fit the served base. */
  checkSettings(request: JobRequest): Promise<void>;
}

/** Dependencies of the routes for published adapters. */
export interface PublishedSide {
  readonly repository: AdapterRepository;
  /** Lists a page of an owner's adapters. */
  page(owner: string, query: NamePageQuery): Promise<NamePage>;
  /** Drops what this server has cached about a name, so that the next request sees a change. */
  forget(owner: string, name: string): void;
}

/** The usage of tenants, over all servers. */
export interface UsageSide {
  /** `flush` never rejects. */
  readonly recorder: Pick<UsageRecorder, 'add' | 'flush'>;
  readonly archive: Pick<UsageArchive, 'read'>;
  /** Returns Unix milliseconds. */
  readonly now: () => number;
}

/** How to create the app. Routes of an optional part exist only if the part is given. */
export interface AppOptions
  extends Omit<RequestDeps & GenerationDeps, 'texts' | 'limits' | 'telemetry' | 'now'> {
  /** Adapters that operators load by path. */
  loaded?: LoadedAdapters;
  /** Published adapters, as their owners manage them. */
  published?: PublishedSide;
  /** Fine-tuning jobs and their files. */
  jobs?: JobsSide;
  /** Usage by day. */
  usage?: UsageSide;
  /** Runs graders in Python. Absent: they are refused. */
  python?: Pick<PythonGraders, 'check' | 'run'> | undefined;
  /** The folders whose routes are refused, because the server cannot write there. */
  unwritable?: readonly ServerFolder[];
  /** Responses that are kept for later requests. */
  keptResponses?: KeptResponses | undefined;
  /** Conversations that responses continue. */
  conversations?: Conversations | undefined;
  limits?: Partial<HttpLimits>;
  /** Every route also answers below this prefix, such as `/openai`; gateways like KServe's expect that. */
  basePath?: string | undefined;
  /** Host names that requests may be addressed to, besides loopback. */
  allowedHosts?: readonly string[];
  /** Origins of web pages that may use the API from a browser, such as `https://app.example`; `*` means every origin. */
  allowedOrigins?: readonly string[];
  /** Absent: the server has no keys, and every request belongs to the local tenant. */
  authenticate?: Authenticate;
  /** Lists the tenants for operators. Absent: there are no keys. */
  listTenants?: Access['tenants'];
  /** Absent: no gateway may name tenants. */
  gateway?: TenantGateway | undefined;
  rateLimits?: RateLimits;
  telemetry?: Telemetry;
  /** Shown at /health. */
  memory?: MemoryBudget;
  /** Whether /metrics needs no admin key. Default: only if the server has no keys. */
  hasOpenMetrics?: boolean;
  /** Whether the admin routes need no key, because every client is on this machine. */
  hasOpenAdmin?: boolean;
  /** Absent: the status page shows no load from before it was opened. */
  history?: StatsHistory;
  /** The engine's threads. Undefined if the runtime chooses. */
  threads?: number | undefined;
  /**
   * Once aborted, /readyz and /health answer 503, so that load balancers send new requests elsewhere. Requests are still
   * answered.
   */
  leaving?: AbortSignal;
  /** Returns Unix milliseconds. */
  now?: () => number;
}

/** The parts that answer with the routes of single requests. */
export interface LineUsers {
  /** Batches of requests. */
  batches?: BatchService;
  /** Training loops that run elsewhere. */
  tinker?: TinkerService | undefined;
}

/** The options that routes get, with all defaults filled in. */
export interface Deps extends Omit<AppOptions, 'allowedHosts' | 'allowedOrigins' | 'authenticate'> {
  limits: HttpLimits;
  rateLimits: RateLimits;
  telemetry: Telemetry;
  texts: RequestDeps['texts'];
  now: () => number;
}

/** Fills in the defaults of what all routes share. */
export function createDeps(options: AppOptions): Deps {
  const { allowedHosts: _, allowedOrigins: __, authenticate: ___, ...given } = options;
  const { tokenizer, chatTemplate, longPrompts } = options;
  return {
    ...given,
    now: options.now ?? Date.now,
    limits: { ...DEFAULT_LIMITS, ...options.limits },
    rateLimits: options.rateLimits ?? new RateLimits(() => performance.now()),
    telemetry: options.telemetry ?? new Telemetry(options.model),
    texts: tokenizer && new ModelTexts({ tokenizer, chatTemplate, longPrompts }),
  };
}
