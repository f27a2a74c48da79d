// Swagger UI over the API's document, in the reader's name.
import { apiKey, askForKey, keyHeaders, watchKeyButton } from './key.js';

watchKeyButton();
const probe = await fetch('openapi.json', { headers: keyHeaders() });
if (probe.status !== 401 || (await askForKey())) {
  Reflect.get(
    globalThis,
    'SwaggerUIBundle',
  )({
    url: 'openapi.json',
    dom_id: '#swagger-ui',
    validatorUrl: null,
    requestInterceptor(/** @type {{ headers: Record<string, string> }} */ request) {
      const key = apiKey();
      if (key !== undefined) request.headers['authorization'] ??= `Bearer ${key}`;
      return request;
    },
  });
}
