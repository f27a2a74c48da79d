// The folders below LORIKEET_HOME/cache that a server writes while it runs. On a read-only root each needs a volume. The
// Dockerfile, the chart and docs/containers.md are tested against this table.

/** The feature that needs a folder. */
export interface FolderUse {
  /** Its name in messages. */
  readonly feature: string;
  /** Its routes, of which only posts need the folder. */
  readonly routes: readonly string[];
}

/** The folders by name. */
export const SERVER_FOLDERS = {
  /** Without it, adapters are kept in memory. */
  adapters: { feature: 'adapters on the disk', routes: [] },
  batches: { feature: 'batches', routes: ['/v1/batches'] },
  jobs: { feature: 'fine-tuning jobs', routes: ['/v1/fine_tuning/jobs'] },
  tinker: { feature: 'training loops', routes: ['/api/v1/*'] },
  uploads: { feature: 'uploads', routes: ['/v1/files'] },
} as const satisfies Record<string, FolderUse>;

/** The name of a folder in `SERVER_FOLDERS`. */
export type ServerFolder = keyof typeof SERVER_FOLDERS;

/** All names. */
export const SERVER_FOLDER_NAMES = Object.keys(SERVER_FOLDERS) as readonly ServerFolder[];
