// Builds stages of a Dockerfile without an engine of containers: each stage is a layer over the one that it comes from,
// its steps run in a chroot. Image names lead to folders that are given.
import assert from 'node:assert/strict';
import { mkdirSync } from 'node:fs';
import path from 'node:path';
import { type Container, runInside } from './chroot.ts';
import { type Dockerfile, expand, parseArg, parseExec, type Stage } from './dockerfile.ts';

export interface Image {
  /** The lowest first; the last one is what the stage itself has added. */
  readonly layers: readonly string[];
  readonly environment: Map<string, string>;
  workdir: string;
  /** `uid:gid`; empty: root. */
  user: string;
  command: readonly string[];
  healthCheck: readonly string[];
}

export interface BuildOptions {
  /** What COPY copies from. */
  readonly context: string;
  /** For layers. */
  readonly folder: string;
  readonly images: ReadonlyMap<string, Image>;
  /** Of RUN steps only, as a proxy's settings are for an engine. */
  readonly environment: ReadonlyMap<string, string>;
  readonly mounts: ReadonlyMap<string, string>;
}

/** Each stage is built once. @returns builds a stage, or finds an image */
export function createBuilder(
  file: Dockerfile,
  options: BuildOptions,
): (name: string) => Promise<Image> {
  const built = new Map<string, Promise<Image>>(
    Array.from(options.images, ([name, image]) => [name, Promise.resolve(image)]),
  );
  const build = (name: string): Promise<Image> => {
    const stage = file.stages.find((one) => one.name === name);
    assert(stage ?? built.has(name), `no folder stands for the image ${name}`);
    const image = built.get(name) ?? buildStage(stage!, { file, options, build });
    built.set(name, image);
    return image;
  };
  return build;
}

interface Builder {
  readonly file: Dockerfile;
  readonly options: BuildOptions;
  readonly build: (name: string) => Promise<Image>;
}

async function buildStage({ name, from, instructions }: Stage, builder: Builder): Promise<Image> {
  const { file, options, build } = builder;
  const below = await build(from);
  const upper = path.join(options.folder, name);
  mkdirSync(upper, { recursive: true });
  const image = {
    ...below,
    layers: [...below.layers, upper],
    environment: new Map(below.environment),
  };
  const args = new Map<string, string>();
  const run = (changes: Partial<Container>, command: readonly string[]) =>
    runStep({ below, upper, name, image, options }, changes, command);
  for (const { keyword, flags, text: written } of instructions) {
    // The shell of a RUN step expands by itself.
    const text =
      keyword === 'RUN' ? written : expand(written, new Map([...args, ...image.environment]));
    switch (keyword) {
      case 'ARG': {
        const [arg, value] = parseArg({ keyword, flags, text });
        args.set(arg, file.args.get(arg) ?? value ?? '');
        break;
      }
      case 'ENV':
        for (const [, variable, value] of text.matchAll(/(\w+)=(\S*)/g)) {
          image.environment.set(variable!, value!);
        }
        break;
      case 'WORKDIR':
        image.workdir = text;
        await run({ workdir: '/' }, ['mkdir', '-p', text]);
        break;
      case 'COPY': {
        const target = text.split(' ').at(-1)!;
        const sources = text.split(' ').slice(0, -1);
        const stage = flags.get('from');
        const source = stage
          ? { source: (await build(stage)).layers }
          : { mounts: new Map([[options.context, '/mnt']]) };
        const owner = flags.get('chown') ?? '';
        await run(source, ['sh', '-euc', COPY, 'sh', target, owner, ...sources]);
        break;
      }
      case 'RUN':
        await run({ environment: new Map([...image.environment, ...args]) }, ['sh', '-c', text]);
        break;
      case 'USER':
        image.user = text;
        break;
      case 'CMD':
        image.command = parseExec(text);
        break;
      case 'HEALTHCHECK':
        image.healthCheck = parseExec(text);
    }
  }
  return image;
}

/** A folder stands for its contents; several sources, or one with a slash at the target's end, go into a folder. */
const COPY = `
target=$1; owner=$2; shift 2
for source; do
  if [ -d "/mnt/$source" ]; then mkdir -p "$target"; cp -a "/mnt/$source/." "$target"
  elif [ $# -gt 1 ] || [ "$target" = ./ ]; then cp -a "/mnt/$source" "$target"
  else mkdir -p "$(dirname "$target")"; cp -a "/mnt/$source" "$target"; fi
done
[ -z "$owner" ] || chown -R "$owner" "$target"
`;

interface Step {
  readonly below: Image;
  readonly upper: string;
  readonly name: string;
  readonly image: Image;
  readonly options: BuildOptions;
}

async function runStep(
  { below, upper, name, image, options }: Step,
  changes: Partial<Container>,
  command: readonly string[],
): Promise<void> {
  const container: Container = {
    layers: below.layers,
    upper,
    scratch: path.join(options.folder, `.${name}`),
    workdir: image.workdir,
    user: image.user,
    ...changes,
    environment: new Map([...options.environment, ...(changes.environment ?? image.environment)]),
    mounts: new Map([...options.mounts, ...(changes.mounts ?? [])]),
  };
  const { code, output } = await runInside(container, command);
  assert.equal(code, 0, `${name}: ${command.join(' ')}\n${output}`);
}
