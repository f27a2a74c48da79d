// The repository of published adapters that the settings name, for the commands that publish or look into it.
import {
  type AdapterRepository,
  createAdapterRepository,
} from '../../adapters/repository/repository.ts';
import { openStore } from '../../adapters/store/open-store.ts';
import type { Config } from '../settings/config.ts';

export async function openRepository(config: Config): Promise<AdapterRepository> {
  return createAdapterRepository(await openStore(config));
}
