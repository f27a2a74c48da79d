// Formulas over the scores of graders: numbers, names, + - * / ^, parentheses and a few functions. There is no package for this
// that neither runs code nor lacks a maintainer, and the grammar is one page.
import { GraderError } from './template.ts';

/** Computes a formula from the scores by their names. */
export type Formula = (scores: Readonly<Record<string, number>>) => number;

const FUNCTIONS: Readonly<Record<string, (...values: number[]) => number>> = {
  min: Math.min,
  max: Math.max,
  abs: Math.abs,
  floor: Math.floor,
  ceil: Math.ceil,
  exp: Math.exp,
  sqrt: Math.sqrt,
  log: Math.log,
};

const BINARY: Readonly<Record<string, (a: number, b: number) => number>> = {
  '+': (a, b) => a + b,
  '-': (a, b) => a - b,
  '*': (a, b) => a * b,
  '/': (a, b) => a / b,
  '^': (a, b) => a ** b,
};

/** Operators of the same precedence, the weakest first. */
const LEVELS = ['+-', '*/'] as const;
const TOKEN = /\s*(?:(\d+(?:\.\d*)?(?:[eE][+-]?\d+)?|\.\d+)|([A-Za-z_]\w*)|([-+*/^(),]))/y;
/** Deeper formulas would exhaust the stack. */
const MAX_DEPTH = 100;

interface Token {
  readonly kind: 'number' | 'name' | 'sign';
  readonly text: string;
}

/** Parses a formula. @param names the graders that it may name @throws GraderError */
export function parseFormula(text: string, names: ReadonlySet<string>): Formula {
  const parser = new FormulaParser(tokenize(text), names);
  return parser.parse();
}

function tokenize(text: string): Token[] {
  const tokens: Token[] = [];
  const end = text.trimEnd().length;
  TOKEN.lastIndex = 0;
  while (TOKEN.lastIndex < end) {
    const at = TOKEN.lastIndex;
    const [, number, name, sign] = TOKEN.exec(text) ?? [];
    if (number !== undefined) tokens.push({ kind: 'number', text: number });
    else if (name !== undefined) tokens.push({ kind: 'name', text: name });
    else if (sign !== undefined) tokens.push({ kind: 'sign', text: sign });
    else throw wrong(`unexpected ${JSON.stringify(text.slice(at).trim().slice(0, 16))}`);
  }
  return tokens;
}

function wrong(message: string): GraderError {
  return new GraderError('formula_parse_error', message);
}

class FormulaParser {
  readonly #tokens: readonly Token[];
  readonly #names: ReadonlySet<string>;
  #next = 0;
  #depth = 0;

  constructor(tokens: readonly Token[], names: ReadonlySet<string>) {
    this.#tokens = tokens;
    this.#names = names;
  }

  parse(): Formula {
    const formula = this.#sum();
    const rest = this.#tokens[this.#next];
    if (rest) throw wrong(`unexpected ${JSON.stringify(rest.text)}`);
    return formula;
  }

  #sum(level = 0): Formula {
    const signs = LEVELS[level];
    if (signs === undefined) return this.#signed();
    let left = this.#sum(level + 1);
    for (let sign = this.#take(signs); sign !== undefined; sign = this.#take(signs)) {
      left = combined(sign, left, this.#sum(level + 1));
    }
    return left;
  }

  /** A sign binds less than a power: -2^2 is -4. */
  #signed(): Formula {
    return this.#nested(() => {
      if (this.#take('+') !== undefined) return this.#signed();
      if (this.#take('-') === undefined) return this.#power();
      const operand = this.#signed();
      return (scores) => -operand(scores);
    });
  }

  #power(): Formula {
    const base = this.#atom();
    return this.#take('^') === undefined ? base : combined('^', base, this.#signed());
  }

  #atom(): Formula {
    const token = this.#tokens[this.#next++];
    if (token?.kind === 'number') return () => Number(token.text);
    if (token?.kind === 'name') return this.#named(token.text);
    if (token?.text !== '(')
      throw wrong(`unexpected ${token ? JSON.stringify(token.text) : 'end'}`);
    const inner = this.#sum();
    this.#need(')');
    return inner;
  }

  #named(name: string): Formula {
    if (this.#take('(') !== undefined) return this.#call(name);
    if (this.#names.has(name)) return (scores) => scores[name] ?? 0;
    throw wrong(`${JSON.stringify(name)} is not one of the graders`);
  }

  #call(name: string): Formula {
    const apply = Object.hasOwn(FUNCTIONS, name) ? FUNCTIONS[name] : undefined;
    if (!apply) throw wrong(`${name}() is not one of ${Object.keys(FUNCTIONS).join(', ')}`);
    const operands = [this.#sum()];
    while (this.#take(',') !== undefined) operands.push(this.#sum());
    this.#need(')');
    return (scores) => apply(...operands.map((operand) => operand(scores)));
  }

  #nested(work: () => Formula): Formula {
    if (++this.#depth > MAX_DEPTH) throw wrong(`is nested deeper than ${MAX_DEPTH} levels`);
    const formula = work();
    this.#depth--;
    return formula;
  }

  #take(signs: string): string | undefined {
    const token = this.#tokens[this.#next];
    if (token?.kind !== 'sign' || !signs.includes(token.text)) return undefined;
    this.#next++;
    return token.text;
  }

  #need(sign: string): void {
    if (this.#take(sign) === undefined) throw wrong(`${JSON.stringify(sign)} is missing`);
  }
}

function combined(sign: string, left: Formula, right: Formula): Formula {
  const apply = BINARY[sign]!;
  return (scores) => apply(left(scores), right(scores));
}
