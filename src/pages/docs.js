// The API docs: Swagger UI with the user's key. The key is only in the requests; the curl commands on the page have a shell
// variable in its place.
import { askForKey } from './account.js';
import { byId } from './dom.js';
import { apiKey, keyHeaders } from './key.js';

/** OpenAI's clients read the same variable. */
const PLACEHOLDER = 'Bearer $OPENAI_API_KEY';

/** @typedef {{ headers: Record<string, string>, userFetch?: typeof fetch }} SwaggerRequest */

const SwaggerUIBundle = Reflect.get(globalThis, 'SwaggerUIBundle');
const toCurl = SwaggerUIBundle.plugins.RequestSnippets().fn.requestSnippetGenerator_curl_bash;

const darkScheme = matchMedia('(prefers-color-scheme: dark)');
const showScheme = () => document.documentElement.classList.toggle('dark-mode', darkScheme.matches);
darkScheme.addEventListener('change', showScheme);
showScheme();
new MutationObserver(addAccessibility).observe(byId('swagger-ui'), {
  childList: true,
  subtree: true,
});

const probe = await fetch('openapi.json', { headers: keyHeaders() });
if (probe.status !== 401 || (await askForKey({ isUserAction: false }))) show();
else byId('swagger-ui').append('The API docs need an API key. Sign in at the top right.');
addEventListener('signin', show);

function show() {
  SwaggerUIBundle({
    url: 'openapi.json',
    dom_id: '#swagger-ui',
    validatorUrl: null,
    defaultModelsExpandDepth: 0,
    syntaxHighlight: false, // its colors have too little contrast
    requestSnippetsEnabled: true,
    requestSnippets: { languages: ['curl_bash'] },
    requestInterceptor: withPlaceholder,
    plugins: [{ fn: { requestSnippetGenerator_curl_bash: toRunnableCurl } }],
  });
}

/** Shows a request with the placeholder, and sends it with the current key. @param {SwaggerRequest} request */
function withPlaceholder(request) {
  if (apiKey() === undefined) return request;
  request.headers['authorization'] = PLACEHOLDER;
  request.userFetch = (input, options) =>
    fetch(input, { ...options, headers: { ...request.headers, ...keyHeaders() } });
  return request;
}

/** Puts the header into double quotes, in which the shell replaces the variable. @param {unknown} request */
function toRunnableCurl(request) {
  return toCurl(request).replace(
    `'authorization: ${PLACEHOLDER}'`,
    `"authorization: ${PLACEHOLDER}"`,
  );
}

/** Adds the labels that Swagger UI leaves out, and lets keys reach the parts that scroll. */
function addAccessibility() {
  for (const field of document.querySelectorAll('textarea.body-param__text'))
    field.setAttribute('aria-label', 'Request body');
  for (const code of document.querySelectorAll('.microlight'))
    if (!code.hasAttribute('tabindex')) code.setAttribute('tabindex', '0');
}
