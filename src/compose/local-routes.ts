// The routes of a server, for requests of this process to an engine in it: the same models, prompts and constraints as over HTTP.

import type { RunLine } from '../batches/context.ts';
import { ConfigError, ServeError } from '../common/errors.ts';
import { createLog } from '../common/log.ts';
import { LOCAL_TENANT, type Tenant } from '../contracts/tenant.ts';
import type { Post } from '../graders/model-calls.ts';
import { createDeps } from '../http/deps.ts';
import { createLineApp } from '../http/lines.ts';
import { type Access, openAccess } from '../tenants/access.ts';
import type { ProgramContext } from './context.ts';
import { servedDemos } from './demo-adapters.ts';
import type { LocalEngine } from './local-engine.ts';
import { describeServedModel, loadBaseText } from './served-model.ts';
import { openServingAdapters, type ServingAdapters } from './serving-adapters.ts';

/** The longest time of a request. A slow machine needs minutes for the questions of a step. */
const TIMEOUT_MS = 24 * 3_600_000;

/** Who sends the requests, and with which settings. */
interface LocalRoutesOptions {
  readonly tenant: string;
  readonly context: ProgramContext;
}

interface LocalRoutesParts {
  readonly access: Access;
  readonly adapters: ServingAdapters;
  readonly answer: RunLine;
  readonly tenant: Tenant;
  readonly signal: AbortSignal;
}

/** Answers requests of one tenant. */
export class LocalRoutes {
  readonly #parts: LocalRoutesParts;

  private constructor(parts: LocalRoutesParts) {
    this.#parts = parts;
  }

  /** Opens the store and the folders that the settings name. */
  static async open(
    { client, base }: LocalEngine,
    { tenant: id, context }: LocalRoutesOptions,
  ): Promise<LocalRoutes> {
    const { config, signal } = context;
    const { artifact, plan } = base;
    const log = createLog(config.logLevel);
    const access = await openAccess({ ...config, host: '127.0.0.1', allowedOrigins: [] }, log);
    const text = await loadBaseText(artifact.dir, config.toolFormat);
    const { name, digest, source } = artifact.info;
    // Only servers tidy the store up.
    const adapters = await openServingAdapters(
      { ...config, training: 0 },
      {
        base: { id: name, names: config.baseAlias, digest },
        demoDir: servedDemos(config, access.kind, source),
        client,
        log,
      },
    );
    const model = await describeServedModel(artifact, text, { ...config, ...plan });
    const deps = createDeps({ client, ...adapters.http, ...text, model, log });
    // The limits of a tenant are for its requests to the server.
    const tenant = { ...(access.tenantOf(id) ?? { ...LOCAL_TENANT, id }), limits: {} };
    return new LocalRoutes({ access, adapters, answer: createLineApp(deps), tenant, signal });
  }

  /** Checks a model that a grader asks. Throws `ConfigError` if there is none that the tenant may use, else as the registry does. */
  async check(model: string): Promise<void> {
    try {
      await this.#parts.adapters.http.registry.resolve(this.#parts.tenant, model);
    } catch (error) {
      if (!(error instanceof ServeError) || error.code !== 'model_not_found') throw error;
      throw new ConfigError(`grader: asks ${model}. ${error.message}`);
    }
  }

  /** Resolves with the body of the response, which may be an error. */
  readonly post: Post = async (url, body) => {
    const { answer, tenant, signal } = this.#parts;
    return (await answer({ tenant, url, body, timeoutMs: TIMEOUT_MS, signal })).body;
  };

  async close(): Promise<void> {
    this.#parts.access.close();
    await this.#parts.adapters.drain();
  }
}
