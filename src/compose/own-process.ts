// The server's own process, as leases and folders name it, and the folders that it can write.
import { randomUUID } from 'node:crypto';
import path from 'node:path';
import { isOwnerGone } from '../common/file-lock.ts';
import { makeFolder, whyNotWritable } from '../common/folders.ts';
import type { Logger } from '../common/log.ts';
import { openProcessFolder } from '../common/process-folder.ts';
import { createOwner } from '../common/process-id.ts';
import {
  type FolderUse,
  SERVER_FOLDER_NAMES,
  SERVER_FOLDERS,
  type ServerFolder,
} from '../contracts/server-folders.ts';
import type { LeaseOwner } from '../jobs/lease.ts';
import { type Config, servesTinker } from '../settings/config.ts';

/** The owner of this process's leases and folders. */
export interface OwnProcess {
  readonly owner: LeaseOwner;
  /** The folders whose features this server refuses, because it cannot write there. */
  readonly unwritable: readonly ServerFolder[];
  /** Returns the path of a folder that all processes with this data folder share. */
  sharedFolder(name: ServerFolder): string;
  /**
   * Returns the path of this process's folder of this name, and removes the folders of processes that have ended.
   * @param inherits the folder within theirs whose entries move to this process's folder
   */
  openFolder(name: ServerFolder | 'jobs/dry-runs', inherits?: string): Promise<string>;
}

type FolderSettings = Pick<Config, 'home' | 'batches' | 'training' | 'trainRunner'>;

/** Whether the settings turn off what needs a folder. Absent: every server has it. */
const IS_OFF: { readonly [name in ServerFolder]?: (config: FolderSettings) => boolean } = {
  batches: ({ batches }) => batches === 0,
  jobs: ({ training }) => training === 0,
  tinker: (config) => !servesTinker(config),
};

/** Names this process, and logs the folders that it needs and cannot write. */
export async function openOwnProcess(config: FolderSettings, log: Logger): Promise<OwnProcess> {
  const owner = createOwner(randomUUID());
  const pathOf = (name: string) => path.join(config.home, 'cache', name);
  const unwritable: ServerFolder[] = [];
  await makeFolder(config.home);
  for (const name of SERVER_FOLDER_NAMES) {
    const { feature, routes }: FolderUse = SERVER_FOLDERS[name];
    const isOff = routes.length === 0 || IS_OFF[name]?.(config);
    const code = isOff ? undefined : await whyNotWritable(pathOf(name));
    if (code === undefined) continue;
    unwritable.push(name);
    log.warn(
      { folder: pathOf(name), code },
      `the folder cannot be written, so ${feature} are refused. Make it writable for this user, and restart.`,
    );
  }
  return {
    owner: { name: owner, isGone: isOwnerGone },
    unwritable,
    sharedFolder: pathOf,
    openFolder: (name, inherits) =>
      openProcessFolder(pathOf(name), {
        ...{ owner, isGone: isOwnerGone, log },
        ...(inherits !== undefined && { inherits }),
      }),
  };
}
