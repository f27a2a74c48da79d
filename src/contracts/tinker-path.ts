// The names of what a client of Tinker's protocol saves: `tinker://{run}/weights/{name}` for training, `sampler_weights` for
// sampling. A run is an adapter in the store, a checkpoint one of its aliases. Pure.

/** The folder in a path: weights with the state of their optimizer, or weights to sample from. */
type CheckpointFolder = 'weights' | 'sampler_weights';

/** A checkpoint of a training run. */
export interface CheckpointPath {
  /** The id of the run and of its model: `{session}:train:{number}`. */
  readonly run: string;
  readonly folder: CheckpointFolder;
  readonly name: string;
}

const RUN = /^(tinker-[0-9a-f]{24}):train:(\d{1,6})$/;
/** With its prefix, an alias has at most 63 characters. */
const NAME = /^(?!.*\.\.)[A-Za-z0-9_][A-Za-z0-9._-]{0,53}$/;
const PREFIXES = { weights: 'training', sampler_weights: 'sampler' } as const;
/** Begins every path. */
const TINKER_SCHEME = 'tinker://';

/** Whether a text can name a checkpoint. */
export function isCheckpointName(name: string): boolean {
  return NAME.test(name);
}

/** Parses a path; undefined if it is malformed. */
export function parseTinkerPath(text: string): CheckpointPath | undefined {
  if (!text.startsWith(TINKER_SCHEME)) return undefined;
  const [run, folder, name, ...rest] = text.slice(TINKER_SCHEME.length).split('/');
  if (!run || !name || rest.length > 0 || !RUN.test(run) || !NAME.test(name)) return undefined;
  return folder === 'weights' || folder === 'sampler_weights' ? { run, folder, name } : undefined;
}

/** Writes a path. */
export function toTinkerPath({ run, folder, name }: CheckpointPath): string {
  return `${TINKER_SCHEME}${run}/${folder}/${name}`;
}

/** Returns the name of a run's adapter; undefined if the id is malformed. */
export function adapterOfRun(run: string): string | undefined {
  const [, session, number] = RUN.exec(run) ?? [];
  return session === undefined ? undefined : `${session}-${number}`;
}

/** Returns the alias of a checkpoint. */
export function aliasOfCheckpoint({ folder, name }: Omit<CheckpointPath, 'run'>): string {
  return `${PREFIXES[folder]}.${name}`;
}
