// The server's own process, as leases and folders name it.
import { randomUUID } from 'node:crypto';
import path from 'node:path';
import { isOwnerGone } from '../common/file-lock.ts';
import type { Logger } from '../common/log.ts';
import { openProcessFolder } from '../common/process-folder.ts';
import { createOwner } from '../common/process-id.ts';
import type { LeaseOwner } from '../jobs/create-jobs.ts';
import type { Config } from '../settings/config.ts';

/** The owner of this process's leases and folders. */
export interface OwnProcess {
  readonly owner: LeaseOwner;
  /**
   * Returns the path of this process's folder of this name, and removes the folders of processes that have ended.
   * @param inherits the folder within theirs whose entries move to this process's folder
   */
  openFolder(name: string, inherits?: string): Promise<string>;
}

/** Names this process. */
export function createOwnProcess({ home }: Pick<Config, 'home'>, log: Logger): OwnProcess {
  const owner = createOwner(randomUUID());
  const options = { owner, isGone: isOwnerGone, log };
  return {
    owner: { name: owner, isGone: isOwnerGone },
    openFolder: (name, inherits) =>
      openProcessFolder(path.join(home, 'cache', name), {
        ...options,
        ...(inherits !== undefined && { inherits }),
      }),
  };
}
