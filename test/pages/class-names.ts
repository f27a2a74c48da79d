// Lists the class names in the pages' style sheets, markup and components. A scan, not a parser: it knows the forms that this code
// base uses.

/** Returns the class names in the selectors of a style sheet. */
export function styledClasses(css: string): string[] {
  const plain = css.replace(/\/\*.*?\*\/|"[^"]*"/gs, '');
  const selectors = [...plain.matchAll(/[^{};]+(?=\{)/g)].join(' ');
  return [...selectors.matchAll(/\.([a-z][\w-]*)/gi)].map(([, name]) => name!);
}

/** The classes of elements. */
interface ClassNames {
  /** Names that are written out. */
  readonly names: readonly string[];
  /** Beginnings of names that a value completes, such as `swatch-` in `swatch-${part}`. */
  readonly beginnings: readonly string[];
}

/** An attribute or property of that name, and its value: a string, or an expression with at most two more levels of braces. */
const CLASS = /\bclass(?:Name)?(?:=|: )("[^"]*"|'[^']*'|\{(?:[^{}]|\{(?:[^{}]|\{[^{}]*\})*\})*\})/g;
const COMPARED = /[!=]== '[^']*'/g;
const TEXT = /"([^"]*)"|'([^']*)'|`([^`]*)`/g;

/** Returns the class names in components or markup. Names that are values of variables are missing. */
export function usedClasses(text: string): ClassNames {
  const values = [...text.matchAll(CLASS)].map(([, value]) => value!.replace(COMPARED, ''));
  const texts = values.flatMap(textsIn);
  const inTemplates = texts.flatMap((one) => (one.includes('${') ? textsIn(one) : []));
  const words = [...texts, ...inTemplates].flatMap((one) =>
    one.replace(/\$\{.*?\}/gs, '$').split(/\s+/),
  );
  const names = words.filter((word) => /^[a-z]/i.test(word));
  return {
    names: names.filter((word) => !word.includes('$')),
    beginnings: names.filter((word) => word.includes('$')).map((word) => word.split('$')[0]!),
  };
}

/** Returns the strings and templates of an expression. */
function textsIn(expression: string): string[] {
  return [...expression.matchAll(TEXT)].map(([, ...parts]) => parts.join(''));
}
