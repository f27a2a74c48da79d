// Applies the theme that the user chose, or the system's. A script of its own, which the page waits for: it is applied before the
// first paint. Charts listen to the event `theme`.
const system = matchMedia('(prefers-color-scheme: dark)');
const root = document.documentElement;

function apply() {
  const before = root.dataset['theme'];
  root.dataset['theme'] =
    localStorage.getItem('lorikeet.theme') ?? (system.matches ? 'dark' : 'light');
  if (before !== root.dataset['theme']) dispatchEvent(new Event('theme'));
}

system.addEventListener('change', apply);
addEventListener('storage', apply);
apply();
