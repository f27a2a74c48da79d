// Builds elements without markup in strings, so text from a model, a file or the server stays text.

/** @typedef {Node | string | number | false | null | undefined} Child */
/** Values that are undefined are skipped. @typedef {Record<string, unknown>} Properties */

/**
 * The type of the element that a selector creates.
 * @template {string} Selector
 * @typedef {Selector extends `${infer Tag extends keyof HTMLElementTagNameMap}.${string}`
 *   ? HTMLElementTagNameMap[Tag]
 *   : Selector extends keyof HTMLElementTagNameMap ? HTMLElementTagNameMap[Selector] : HTMLElement} ElementOf
 */

/**
 * Creates an element: `el('p.help', 'text')`. Buttons get the type `button`. Properties that start with `on` are
 * listeners; names that the element has as a property are set, and all others become attributes.
 * @template {string} Selector
 * @param {Selector} selector a tag and its classes
 * @param {Properties | Child} [first] properties, or the first child
 * @param {...Child} rest
 * @returns {ElementOf<Selector>}
 */
export function el(selector, first, ...rest) {
  const [tag = '', ...classes] = selector.split('.');
  const element = document.createElement(tag);
  if (classes.length > 0) element.className = classes.join(' ');
  if (element instanceof HTMLButtonElement) element.type = 'button';
  const isChild = typeof first !== 'object' || first === null || first instanceof Node;
  for (const [name, value] of Object.entries(isChild ? {} : first)) {
    if (value === undefined) continue;
    if (name.startsWith('on')) {
      element.addEventListener(name.slice(2), /** @type {EventListener} */ (value));
    } else if (name in element) Reflect.set(element, name, value);
    else element.setAttribute(name, String(value));
  }
  fill(element, ...(isChild ? [first, ...rest] : rest));
  return /** @type {ElementOf<Selector>} */ (element);
}

/**
 * Replaces the children of an element. Skips false, null and undefined.
 * @param {Element} parent
 * @param {...Child} children
 */
export function fill(parent, ...children) {
  const nodes = children.filter(
    (child) => child !== false && child !== null && child !== undefined,
  );
  parent.replaceChildren(...nodes.map((node) => (node instanceof Node ? node : String(node))));
}

/**
 * Returns the element with this id.
 * @template {HTMLElement} [E=HTMLElement]
 * @param {string} id
 * @param {new () => E} [type]
 * @returns {E}
 * @throws {Error} if the page has no such element
 */
export function byId(id, type) {
  const element = document.getElementById(id);
  if (!element || (type && !(element instanceof type))) {
    throw new Error(`no ${type?.name ?? 'element'} with the id ${id}`);
  }
  return /** @type {E} */ (element);
}

/**
 * Sets an element's text if it differs. An unchanged text keeps its selection and is not announced again.
 * @param {Element} element
 * @param {string} text
 */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/**
 * Shows a problem in an element that is hidden without one.
 * @param {HTMLElement} element
 * @param {string} text empty: there is no problem
 */
export function showProblemIn(element, text) {
  element.hidden = text === '';
  setText(element, text);
}

/** Shows a part of the page whose first content is there, by default all of it. @param {string} [id] */
export function showLoaded(id = 'main') {
  byId(id).classList.remove('loading');
}

/**
 * Rebuilds a part of the page. If it had the focus, the new element with the same name gets it, else the fallback.
 * @param {HTMLElement} area
 * @param {() => void} rebuild
 * @param {() => HTMLElement | null | undefined} fallback
 */
export function keepFocus(area, rebuild, fallback) {
  const { activeElement } = document;
  const focused = area.contains(activeElement) ? /** @type {HTMLElement} */ (activeElement) : null;
  const scope = focused?.parentElement?.closest('[id]')?.id ?? ''; // another card may have a control with that name
  rebuild();
  if (!focused) return;
  if (focused.isConnected) return focused.focus(); // it was moved, which takes the focus away
  const name = nameOf(focused);
  const within = document.getElementById(scope) ?? area;
  const controls = [...within.querySelectorAll('button:enabled, a, input:enabled, summary')];
  const same = /** @type {HTMLElement | undefined} */ (
    controls.find((one) => nameOf(one) === name)
  );
  (same ?? fallback())?.focus();
}

/**
 * Shows or hides the button that loads more of a list. If it has the focus and is hidden, the list gets the focus.
 * @param {string} id
 * @param {boolean} isShown
 */
export function showMoreButton(id, isShown) {
  const button = byId(id);
  const list = button.closest('section')?.querySelector('[tabindex]');
  if (!isShown && document.activeElement === button) /** @type {HTMLElement} */ (list)?.focus();
  button.hidden = !isShown;
}

/** @param {Element} element */
function nameOf(element) {
  return element.id || (element.ariaLabel ?? element.getAttribute('href') ?? element.textContent);
}

/**
 * Creates a paragraph that also reports a problem to screen readers.
 * @param {string} text
 */
export function problemText(text) {
  return el('p.problem', { role: 'alert' }, text);
}

/**
 * Creates the entries of a `dl`.
 * @param {readonly (readonly [name: string, value: Child])[]} entries
 */
export function definitions(entries) {
  return entries.flatMap(([name, value]) => [el('dt', name), el('dd', value)]);
}
