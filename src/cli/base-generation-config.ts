// Which sampling defaults a base is served with, as --generation-config says (the semantics are vLLM's).
import { ConfigError, FileError } from '../common/errors.ts';
import {
  GENERATION_CONFIG_FILE,
  type GenerationConfig,
  readGenerationConfig,
} from '../contracts/generation-config.ts';
import type { ArtifactInfo } from '../import/artifact.ts';
import { catalogueGenerationConfig } from '../import/catalogue.ts';

interface Base {
  readonly dir: string;
  readonly info: Pick<ArtifactInfo, 'source'>;
}

/**
 * The defaults: `auto`: those of the base's own file and of its catalogue row, where the file wins; `vllm`: none; else
 * those of the file in this folder. They are read at every start and are no part of the base's digest.
 * @throws ConfigError if the folder has no such file, or a field is out of its bounds
 */
export async function baseGenerationConfig(
  setting: string,
  { dir, info }: Base,
): Promise<GenerationConfig> {
  if (setting === 'vllm') return {};
  try {
    if (setting === 'auto') {
      return { ...catalogueGenerationConfig(info.source), ...(await readGenerationConfig(dir)) };
    }
    const config = await readGenerationConfig(setting);
    if (config) return config;
  } catch (error) {
    if (!(error instanceof FileError)) throw error;
    throw new ConfigError([`--generation-config: ${error.message}`]);
  }
  const fault = `${setting} has no ${GENERATION_CONFIG_FILE}; give auto, vllm or a folder with one`;
  throw new ConfigError([`--generation-config: ${fault}`]);
}
