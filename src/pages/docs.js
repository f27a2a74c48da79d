// Swagger UI over the API's document, with the reader's key. The key goes into the requests only: what the page shows of
// them, the curl command included, has a variable of the shell in its place.
import { askForKey } from './account.js';
import { byId } from './dom.js';
import { apiKey, keyHeaders } from './key.js';

/** The variable that OpenAI's clients read, too. */
const PLACEHOLDER = 'Bearer $OPENAI_API_KEY';

/** @typedef {{ headers: Record<string, string>, userFetch?: typeof fetch }} SwaggerRequest */

const SwaggerUIBundle = Reflect.get(globalThis, 'SwaggerUIBundle');
const toCurl = SwaggerUIBundle.plugins.RequestSnippets().fn.requestSnippetGenerator_curl_bash;

const darkScheme = matchMedia('(prefers-color-scheme: dark)');
const showScheme = () => document.documentElement.classList.toggle('dark-mode', darkScheme.matches);
darkScheme.addEventListener('change', showScheme);
showScheme();
new MutationObserver(mend).observe(byId('swagger-ui'), { childList: true, subtree: true });

const probe = await fetch('openapi.json', { headers: keyHeaders() });
if (probe.status !== 401 || (await askForKey({ isUserAction: false }))) show();
else byId('swagger-ui').append('The document needs an API key: sign in at the top right.');
addEventListener('signin', show);

function show() {
  SwaggerUIBundle({
    url: 'openapi.json',
    dom_id: '#swagger-ui',
    validatorUrl: null,
    defaultModelsExpandDepth: 0,
    syntaxHighlight: false, // its colours have too little contrast
    requestSnippetsEnabled: true,
    requestSnippets: { languages: ['curl_bash'] },
    requestInterceptor: withPlaceholder,
    plugins: [{ fn: { requestSnippetGenerator_curl_bash: toRunnableCurl } }],
  });
}

/** What is shown has the placeholder; what is sent has the key of that moment. @param {SwaggerRequest} request */
function withPlaceholder(request) {
  if (apiKey() === undefined) return request;
  request.headers['authorization'] = PLACEHOLDER;
  request.userFetch = (input, options) =>
    fetch(input, { ...options, headers: { ...request.headers, ...keyHeaders() } });
  return request;
}

/** In double quotes the shell fills in the variable. @param {unknown} request */
function toRunnableCurl(request) {
  return toCurl(request).replace(
    `'authorization: ${PLACEHOLDER}'`,
    `"authorization: ${PLACEHOLDER}"`,
  );
}

/** Gives what Swagger UI draws the labels that it leaves out, and the keyboard a way to what scrolls. */
function mend() {
  for (const field of document.querySelectorAll('textarea.body-param__text'))
    field.setAttribute('aria-label', 'Request body');
  for (const code of document.querySelectorAll('.microlight'))
    if (!code.hasAttribute('tabindex')) code.setAttribute('tabindex', '0');
}
