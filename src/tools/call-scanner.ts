// Reads one call, a JSON object with a name and arguments, from text that arrives in pieces. The arguments are passed on
// exactly as the model writes them.

/** The keys that models use for a call's arguments. */
const ARGUMENT_KEYS: ReadonlySet<string> = new Set(['arguments', 'parameters']);
const SPACE = /\s/u;

/** Receives a call while it is being read. */
interface CallReceiver {
  /** Whether there is a function of this name. If not, the text is not a call. */
  accepts(name: string): boolean;
  /** Called once, before the first arguments. */
  open(name: string): void;
  addArguments(text: string): void;
}

/** Reads one call. */
export class CallScanner {
  readonly #receiver: CallReceiver;
  #step: 'object' | 'key' | 'colon' | 'value' | 'next' = 'object';
  #extent = new ValueExtent();
  #key = '';
  /** The text of the current key or value so far, excluding arguments that were passed on. */
  #text = '';
  #name: string | undefined;
  /** Arguments that arrived before the name. */
  #early: string | undefined;
  #isOpen = false;
  #hasArguments = false;
  #state: 'reading' | 'done' | 'failed' = 'reading';

  constructor(receiver: CallReceiver) {
    this.#receiver = receiver;
  }

  /** `failed`: the text is not a call, or not a complete one. */
  get state(): 'reading' | 'done' | 'failed' {
    return this.#state;
  }

  /** Whether the receiver has been given the call's name. */
  get isOpen(): boolean {
    return this.#isOpen;
  }

  /** Reads from `start`, and returns the index of the first unit after the call. */
  read(text: string, start: number): number {
    let at = start;
    while (at < text.length && this.#state === 'reading') {
      if (this.#extent.isStarted) at = this.#readExtent(text, at);
      else if (SPACE.test(text[at]!)) at++;
      else at = this.#begin(text, at);
    }
    return at;
  }

  /** Reads one unit of structure, or starts a key or a value. */
  #begin(text: string, at: number): number {
    const unit = text[at]!;
    switch (this.#step) {
      case 'object':
        return this.#expect(unit === '{', 'key', at);
      case 'colon':
        return this.#expect(unit === ':', 'value', at);
      case 'next':
        if (unit === '}') return this.#finish(at);
        return this.#expect(unit === ',', 'key', at);
      case 'key':
        if (unit === '}') return this.#finish(at);
        if (unit !== '"') return this.#fail(at);
        return this.#readExtent(text, at);
      default:
        return this.#readExtent(text, at);
    }
  }

  #expect(isExpected: boolean, step: 'key' | 'value', at: number): number {
    if (!isExpected) return this.#fail(at);
    this.#step = step;
    return at + 1;
  }

  #fail(at: number): number {
    this.#state = 'failed';
    return at;
  }

  #readExtent(text: string, at: number): number {
    const end = this.#extent.read(text, at);
    this.#addPiece(text.slice(at, end));
    if (!this.#extent.isDone) return end;
    this.#extent = new ValueExtent();
    const isValid = this.#step === 'key' ? this.#endKey() : this.#endValue();
    this.#text = '';
    return isValid ? end : this.#fail(end);
  }

  /** Passes arguments on as they arrive, unless they must first be checked or wait for the name. */
  #addPiece(piece: string): void {
    const isArguments = this.#step === 'value' && ARGUMENT_KEYS.has(this.#key);
    if (isArguments && this.#extent.isObject && this.#name !== undefined) this.#emit(piece);
    else this.#text += piece;
  }

  #endKey(): boolean {
    const key = parseText(this.#text);
    this.#key = key ?? '';
    this.#step = 'colon';
    return key !== undefined;
  }

  #endValue(): boolean {
    this.#step = 'next';
    if (this.#key === 'name') return this.#endName();
    if (!ARGUMENT_KEYS.has(this.#key) || this.#text === '') return true;
    const text = toArguments(this.#text);
    if (text === undefined) return false;
    if (this.#name === undefined) this.#early = text;
    else this.#emit(text);
    return true;
  }

  #endName(): boolean {
    const name = parseText(this.#text);
    if (name === undefined || this.#isOpen || !this.#receiver.accepts(name)) return false;
    this.#name = name;
    if (this.#early !== undefined) this.#emit(this.#early);
    return true;
  }

  #emit(piece: string): void {
    if (!this.#isOpen) this.#receiver.open(this.#name!);
    this.#isOpen = true;
    this.#hasArguments = true;
    this.#receiver.addArguments(piece);
  }

  /** Ends the object, whose closing brace is at index `at`. */
  #finish(at: number): number {
    if (this.#name === undefined) return this.#fail(at);
    if (!this.#hasArguments) this.#emit('{}');
    this.#state = 'done';
    return at + 1;
  }
}

/** Finds the end of one JSON value. */
class ValueExtent {
  isStarted = false;
  isDone = false;
  /** Whether the value starts with a brace. */
  isObject = false;
  #depth = 0;
  #isInString = false;
  #isEscaped = false;
  #isScalar = false;

  /** Reads the value from `start`, and returns the index of the first unit after it. */
  read(text: string, start: number): number {
    if (!this.isStarted) {
      this.isStarted = true;
      this.isObject = text[start] === '{';
    }
    for (let at = start; at < text.length; at++) {
      const end = this.#next(text[at]!);
      if (end === undefined) continue;
      this.isDone = true;
      return at + end;
    }
    return text.length;
  }

  /** Returns 1 if the value ends with this unit, 0 if it ends before it. */
  #next(unit: string): 0 | 1 | undefined {
    if (this.#isInString) {
      if (this.#isEscaped) this.#isEscaped = false;
      else if (unit === '\\') this.#isEscaped = true;
      else if (unit === '"') {
        this.#isInString = false;
        if (this.#depth === 0) return 1;
      }
      return undefined;
    }
    if (this.#depth === 0 && (unit === ',' || unit === '}' || unit === ']')) return 0;
    if (this.#isScalar) return SPACE.test(unit) ? 0 : undefined;
    if (unit === '"') this.#isInString = true;
    else if (unit === '{' || unit === '[') this.#depth++;
    else if (unit === '}' || unit === ']') {
      if (--this.#depth === 0) return 1;
    } else if (this.#depth === 0) this.#isScalar = true;
    return undefined;
  }
}

function parseText(json: string): string | undefined {
  const value = parseJson(json);
  return typeof value === 'string' ? value : undefined;
}

/** Returns arguments as the text of an object. Some models write that text as a string, or write null for no arguments. */
function toArguments(json: string): string | undefined {
  if (json.startsWith('{')) return json;
  const value = parseJson(json);
  if (value === null) return '{}';
  const isObject = typeof value === 'string' && value.startsWith('{');
  return isObject && parseJson(value) !== undefined ? value : undefined;
}

function parseJson(json: string): unknown {
  try {
    return JSON.parse(json);
  } catch {
    return undefined;
  }
}
