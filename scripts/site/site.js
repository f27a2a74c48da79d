// What the pages of the site do: the search, which needs no server and loads its index with the first key, and the sidebar.
const { base } = document.currentScript.dataset;
const field = document.querySelector('input[type=search]');
const list = document.querySelector('.results');
const MAX_RESULTS = 12;
/** How much of a section's text a result shows around the first word that was found. */
const EXCERPT_CHARS = 90;
let records;

function loadIndex() {
  return new Promise((resolve, reject) => {
    const script = document.createElement('script');
    script.src = `${base}/search-index.js`;
    script.onload = () => resolve(globalThis.searchIndex);
    script.onerror = reject;
    document.head.append(script);
  });
}

function pointsOf(word, { heading, text, terms }) {
  if (heading.includes(word)) return 10;
  if (terms.includes(word)) return 5;
  return text.includes(word) ? 1 : 0;
}

/** Sections that contain every word. A word counts most in a heading, then as a field that a table explains. */
function find(words) {
  const scored = records.map((record) => {
    const heading = `${record.page} ${record.heading}`.toLowerCase();
    const text = record.text.toLowerCase();
    const points = words.map((word) => pointsOf(word, { heading, text, terms: record.terms }));
    const isFound = points.every((point) => point > 0);
    return { record, score: isFound ? points.reduce((sum, point) => sum + point) : 0 };
  });
  const found = scored.filter(({ score }) => score > 0).sort((a, b) => b.score - a.score);
  return found.slice(0, MAX_RESULTS).map(({ record }) => record);
}

function excerpt(text, words) {
  const at = Math.max(0, text.toLowerCase().indexOf(words[0]));
  const start = text.lastIndexOf(' ', Math.max(0, at - EXCERPT_CHARS / 3)) + 1;
  const part = text.slice(start, start + EXCERPT_CHARS).trim();
  return `${start > 0 ? '…' : ''}${part}${start + EXCERPT_CHARS < text.length ? '…' : ''}`;
}

function toLink({ url, page, heading, text }, words) {
  const link = document.createElement('a');
  link.href = `${base}/${url}`;
  const about = document.createElement('small');
  about.textContent = excerpt(text, words);
  link.append(heading === page ? page : `${page}: ${heading}`, about);
  return link;
}

async function search() {
  records ??= await loadIndex();
  const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
  const found = words.length > 0 ? find(words) : [];
  list.replaceChildren(...found.map((record) => toLink(record, words)));
  if (found.length === 0) list.textContent = 'Nothing found.';
  list.hidden = words.length === 0;
}

/** Moves the focus through the results, and from the first one back to the field. */
function move(by) {
  const places = [field, ...list.children];
  const at = places.indexOf(document.activeElement);
  if (at >= 0) places[at + by]?.focus();
}

field.addEventListener('input', search);
field.addEventListener('focus', () => {
  if (field.value) void search();
});
addEventListener('keydown', (event) => {
  const isResult = list.contains(document.activeElement);
  if (event.key === '/' && document.activeElement !== field) field.focus();
  else if (event.key === 'Escape') {
    if (isResult) field.focus();
    list.hidden = true;
    return;
  } else if (event.key === 'ArrowDown' && !list.hidden) move(1);
  else if (event.key === 'ArrowUp' && isResult) move(-1);
  else if (event.key === 'Enter' && document.activeElement === field && !list.hidden) {
    list.querySelector('a')?.click();
  } else return;
  event.preventDefault();
});
addEventListener('click', (event) => {
  if (!event.target.closest('search')) list.hidden = true;
});

// On a phone the sidebar starts closed.
const phone = matchMedia('(max-width: 60rem)');
const fold = () => {
  document.querySelector('.sidebar details').open = !phone.matches;
};
phone.addEventListener('change', fold);
fold();
const current = document.querySelector('.sidebar [aria-current]');
const sidebar = document.querySelector('.sidebar');
if (current) sidebar.scrollTop = current.offsetTop - sidebar.clientHeight / 2;
// Keys can scroll what does not fit.
for (const box of document.querySelectorAll('pre, .scroll')) {
  if (box.scrollWidth > box.clientWidth) box.tabIndex = 0;
}
