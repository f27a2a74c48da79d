// Reads the part of Dockerfile syntax that this project uses; what it does not know is an error. Runs nothing.

export interface Instruction {
  /** Upper case. */
  readonly keyword: string;
  /** `--from=build` is `from → build`. */
  readonly flags: ReadonlyMap<string, string>;
  /** The rest of the line, with variables not yet replaced. */
  readonly text: string;
}

export interface Stage {
  readonly name: string;
  /** An image or a stage before. */
  readonly from: string;
  readonly instructions: readonly Instruction[];
}

export interface Dockerfile {
  /** The arguments before the first stage. A stage must name those that it uses. */
  readonly args: ReadonlyMap<string, string>;
  readonly stages: readonly Stage[];
}

const KEYWORDS = /^(ARG|FROM|WORKDIR|COPY|RUN|ENV|USER|EXPOSE|HEALTHCHECK|CMD)$/;

/** @param given arguments of the build */
export function parseDockerfile(text: string, given: Readonly<Record<string, string>>): Dockerfile {
  const lines = text
    .split('\n')
    .filter((line) => !/^\s*#/.test(line))
    .join('\n')
    .replaceAll(/\\\n/g, ' ')
    .split('\n')
    .map((line) => line.trim().replaceAll(/\s+/g, ' '))
    .filter((line) => line !== '');
  const args = new Map<string, string>();
  const stages: (Stage & { instructions: Instruction[] })[] = [];
  for (const instruction of lines.map(parseInstruction)) {
    const stage = stages.at(-1);
    if (instruction.keyword === 'FROM') {
      const [, from, name] = /^(\S+) AS (\S+)$/.exec(expand(instruction.text, args)) ?? [];
      if (from === undefined || name === undefined) throw new Error(`FROM ${instruction.text}`);
      stages.push({ from, name, instructions: [] });
    } else if (stage) {
      stage.instructions.push(instruction);
    } else {
      const [name, value] = parseArg(instruction);
      args.set(name, given[name] ?? value ?? '');
    }
  }
  return { args, stages };
}

/** Name and default of an ARG. */
export function parseArg({ keyword, text }: Instruction): [string, string | undefined] {
  const [, name, value] = /^(\w+)(?:=(.*))?$/.exec(text) ?? [];
  if (keyword !== 'ARG' || name === undefined) throw new Error(`${keyword} ${text}`);
  return [name, value?.replaceAll(/^"|"$/g, '')];
}

/** `${NAME}` and `${NAME:+word}`. */
export function expand(text: string, variables: ReadonlyMap<string, string>): string {
  return text.replaceAll(/\$\{(\w+)(?::\+([^}]*))?\}/g, (_, name, word) => {
    const value = variables.get(name);
    if (value === undefined) throw new Error(`${text}: ${name} is not declared in this stage`);
    return word === undefined ? value : value && word;
  });
}

/** The exec form of CMD, or of a HEALTHCHECK's. */
export function parseExec(text: string): string[] {
  return JSON.parse(text.replace(/^CMD /, ''));
}

function parseInstruction(line: string): Instruction {
  const [, keyword, flags, text] = /^(\w+) ((?:--\w[\w-]*=\S+ )*)(.*)$/.exec(line) ?? [];
  if (keyword === undefined || !KEYWORDS.test(keyword)) throw new Error(`unknown: ${line}`);
  const entries = flags!.matchAll(/--([\w-]+)=(\S+)/g);
  return {
    keyword,
    flags: new Map(Array.from(entries, ([, name, value]) => [name!, value!] as const)),
    text: text!,
  };
}
